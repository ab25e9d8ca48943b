package postgres_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/malote/malote/rotation/builtin"
	"github.com/malote/malote/rotation/rotationtest"
)

// start has an admin who is a superuser by the socket alone, and the users app and master.
func start(t *testing.T, password string) rotationtest.Server {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		t.Fatal("PostgreSQL is not installed: .ci/need postgres")
	}
	bin := filepath.Dir(found[len(found)-1])
	dir := rotationtest.Dir(t, "postgres")
	if out, err := rotationtest.Command(t, "postgres", bin+"/initdb", "-D", dir+"/data", "-U", "root", "--auth-local=trust", "--auth-host=scram-sha-256", "-N").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %s", out)
	}
	port := rotationtest.FreePort(t)
	server := rotationtest.Start(t, rotationtest.Command(t, "postgres", bin+"/postgres", "-D", dir+"/data", "-k", dir, "-p", strconv.Itoa(port),
		"-c", "listen_addresses=127.0.0.1", "-c", "log_statement=ddl", "-c", "log_connections=on", "-c", "fsync=off"), port, dir)
	var admin *pgx.Conn
	var err error
	for range 100 {
		if admin, err = pgx.Connect(t.Context(), fmt.Sprintf("host=%s port=%d user=root dbname=postgres", dir, port)); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context())
	for _, statement := range []string{
		"SET log_statement = none", `CREATE ROLE "ap""p" LOGIN PASSWORD '` + password + "'", "CREATE ROLE master LOGIN SUPERUSER PASSWORD '" + password + "'",
		"CREATE TABLE things (n int)", `GRANT SELECT ON things TO "ap""p"`,
	} {
		if _, err := admin.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return server
}

func TestRotations(t *testing.T) {
	for _, name := range []string{"postgres-single-user", "postgres-alternating-users"} {
		t.Run(name, func(t *testing.T) {
			function, err := builtin.Named(name, nil)
			if err != nil {
				t.Fatal(err)
			}
			sys := rotationtest.New(t, function)
			first := sys.Canaries.New()
			server := start(t, first)
			secret := `{"engine":"postgres","host":"127.0.0.1","port":%d,"username":%q,"password":%q,"masterarn":%q,"dbClusterIdentifier":"kept"}`
			master := ""
			if name == "postgres-alternating-users" {
				master = rotationtest.Secret(t, sys, "master", fmt.Sprintf(secret, server.Port, "master", first, ""))
			}
			rotationtest.Check(t, sys, "app", fmt.Sprintf(secret, server.Port, `ap"p`, first, master), master == "", func(ctx context.Context, user, password string) error {
				config, err := pgx.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d dbname=postgres sslmode=disable", server.Port))
				if err != nil {
					return err
				}
				config.User, config.Password = user, password
				conn, err := pgx.ConnectConfig(ctx, config)
				if err != nil {
					return err
				}
				defer conn.Close(ctx)
				_, err = conn.Exec(ctx, "SELECT n FROM things") // the clone has the user's rights
				return err
			}, server.Log)
		})
	}
}
