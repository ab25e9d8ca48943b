package redis_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/malote/malote/rotation/builtin"
	"github.com/malote/malote/rotation/rotationtest"
)

func TestRotations(t *testing.T) {
	for _, name := range []string{"redis-single-user", "redis-alternating-users"} {
		t.Run(name, func(t *testing.T) {
			function, err := builtin.Named(name, nil)
			if err != nil {
				t.Fatal(err)
			}
			sys := rotationtest.New(t, function)
			first := sys.Canaries.New()
			dir := rotationtest.Dir(t, "redis")
			acl := filepath.Join(dir, "users.acl")
			// The file is written with a clear password, as a person may, and rewritten by ACL SAVE.
			if err := os.WriteFile(acl, []byte("user default off\nuser app on >"+first+" ~things:* +get +ping (+set ~other:*)\nuser master on >"+first+" ~* +@all\n"), 0o666); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(acl, 0o666); err != nil {
				t.Fatal(err)
			}
			port := rotationtest.FreePort(t)
			server := rotationtest.Start(t, rotationtest.Command(t, "redis", "redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--aclfile", acl, "--save", "", "--loglevel", "debug"), port, dir)
			secret := `{"engine":"redis","host":"127.0.0.1","port":%d,"username":%q,"password":%q,"ssl":false,"masterarn":%q}`
			master := rotationtest.Secret(t, sys, "master", fmt.Sprintf(secret, port, "master", first, ""))
			rotationtest.Check(t, sys, "app", fmt.Sprintf(secret, port, "app", first, master), false, func(ctx context.Context, user, password string) error {
				client := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", port), Username: user, Password: password, MaxRetries: -1, DisableIdentity: true})
				defer client.Close()
				// The clone has the user's rights.
				if err := client.Get(ctx, "things:1").Err(); err != redis.Nil {
					return fmt.Errorf("get: %w", err)
				}
				return client.Set(ctx, "other:1", "x", 0).Err()
			}, server.Log)
			if name == "redis-single-user" {
				client := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", port), Username: "app", Password: first, MaxRetries: -1, DisableIdentity: true})
				defer client.Close()
				if err := client.Ping(t.Context()).Err(); err == nil {
					t.Error("the first password is good after 50 rotations")
				}
			}
		})
	}
}
