// Package redis rotates passwords of Redis ACL users.
//
// It promises: the server gets the SHA-256 of a password, never the password but to log in.
// A user has its current and its pending password at once, so nobody is refused while a
// rotation goes on.
package redis

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/malote/malote/rotation"
	"github.com/malote/malote/rotation/steps"
)

// SingleUser gives the secret's user a further password and takes away those older than
// the current one.
func SingleUser(password steps.Password) rotation.Function {
	return steps.SingleUser(server{}, password)
}

// AlternatingUsers rotates between a user and its clone, which gets the user's rules each time.
func AlternatingUsers(password steps.Password) rotation.Function {
	return steps.AlternatingUsers(server{}, password)
}

type server struct{}

func (server) Parse(value string) (steps.Login, error) {
	return steps.ParseLogin(value, 6379, "redis", "valkey")
}

// open uses TLS unless the secret says ssl: false. Redis does not say on a plain port that
// it has no TLS, so there is nothing to fall back on.
func open(as steps.Login) *redis.Client {
	options := &redis.Options{
		Addr: as.Address(), Username: as.User, Password: as.Password,
		DialTimeout: 5 * time.Second, MaxRetries: -1, PoolSize: 1, DisableIdentity: true,
	}
	if as.TLS != steps.TLSNever {
		host, _, _ := net.SplitHostPort(as.Address())
		options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, InsecureSkipVerify: as.TLS != steps.TLSVerified}
	}
	return redis.NewClient(options)
}

// LogIn authenticates as the connection opens, and pings to have it open. A user that may
// not ping is logged in all the same.
func (server) LogIn(ctx context.Context, as steps.Login) error {
	client := open(as)
	defer client.Close()
	err := client.Ping(ctx).Err()
	if err != nil && strings.HasPrefix(err.Error(), "NOPERM") {
		return nil // it is known, and may not ping
	}
	return err
}

func hash(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

func (server) SetPassword(ctx context.Context, as, now, next steps.Login) error {
	client := open(as)
	defer client.Close()
	rules, err := list(ctx, client, next.User)
	if err != nil {
		return err
	}
	// One command, so that no moment has fewer passwords than it should.
	command := []any{"ACL", "SETUSER", next.User, "#" + hash(next.Password)}
	for _, rule := range rules {
		if old, is := strings.CutPrefix(rule, "#"); is && old != hash(now.Password) && old != hash(next.Password) {
			command = append(command, "!"+old)
		}
	}
	if err := client.Do(ctx, command...).Err(); err != nil {
		return err
	}
	return save(ctx, client)
}

func (server) Clone(ctx context.Context, master, now, next steps.Login) error {
	client := open(master)
	defer client.Close()
	rules, err := list(ctx, client, now.User)
	if err != nil {
		return err
	}
	command := []any{"ACL", "SETUSER", next.User, "reset"}
	for _, rule := range rules {
		if !strings.HasPrefix(rule, "#") && rule != "nopass" {
			command = append(command, rule)
		}
	}
	if err := client.Do(ctx, append(command, "#"+hash(next.Password))...).Err(); err != nil {
		return err
	}
	return save(ctx, client)
}

// list is the user's rules as ACL LIST writes them.
func list(ctx context.Context, client *redis.Client, user string) ([]string, error) {
	lines, err := client.Do(ctx, "ACL", "LIST").StringSlice()
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		if rest, is := strings.CutPrefix(line, "user "+user+" "); is {
			return split(rest), nil
		}
	}
	return nil, fmt.Errorf("there is no user %q", user)
}

// split cuts at spaces, but for those within a selector's parentheses.
func split(text string) (rules []string) {
	depth, start := 0, 0
	for i, c := range text + " " {
		switch {
		case c == '(' && (depth > 0 || i == start):
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == ' ' && depth == 0:
			if i > start {
				rules = append(rules, text[start:i])
			}
			start = i + 1
		}
	}
	return rules
}

// save writes the ACL file, where the server has one. Without one, users are as durable as
// the server's configuration file makes them, which is its operator's.
func save(ctx context.Context, client *redis.Client) error {
	err := client.Do(ctx, "ACL", "SAVE").Err()
	if err != nil && strings.Contains(err.Error(), "not configured to use an ACL file") {
		return nil
	}
	if err != nil {
		return errors.Join(errors.New("the password is set but ACL SAVE failed"), err)
	}
	return nil
}
