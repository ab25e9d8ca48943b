// Package postgres rotates passwords of PostgreSQL users.
//
// It promises: the server gets a SCRAM-SHA-256 verifier, so that no password is in a
// statement that it might log. It needs PostgreSQL 10 or newer.
package postgres

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/malote/malote/rotation"
	"github.com/malote/malote/rotation/steps"
)

// SingleUser changes the password of the secret's user.
func SingleUser(password steps.Password) rotation.Function {
	return steps.SingleUser(server{}, password)
}

// AlternatingUsers rotates between a user and its clone, which is a member of the user's role.
func AlternatingUsers(password steps.Password) rotation.Function {
	return steps.AlternatingUsers(server{}, password)
}

type server struct{}

func (server) Parse(value string) (steps.Login, error) {
	login, err := steps.ParseLogin(value, 5432, "postgres", "aurora-postgresql")
	if err == nil && login.Database == "" {
		login.Database = "postgres"
	}
	return login, err
}

// connect tries TLS first. A failure of TLS is one: only a server that answers that it has
// none gets the password over a plain connection, and not when ssl is true.
func connect(ctx context.Context, as steps.Login) (*pgx.Conn, error) {
	mode := map[steps.TLS]string{steps.TLSPreferred: "require", steps.TLSVerified: "verify-full", steps.TLSNever: "disable"}[as.TLS]
	conn, err := connectBy(ctx, as, mode)
	if as.TLS == steps.TLSPreferred && err != nil && strings.Contains(err.Error(), "server refused TLS connection") {
		conn, err = connectBy(ctx, as, "disable")
	}
	return conn, err
}

func connectBy(ctx context.Context, as steps.Login, mode string) (*pgx.Conn, error) {
	quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(as.Host)
	config, err := pgx.ParseConfig(fmt.Sprintf("host='%s' port=%s sslmode=%s", quoted, strconv.Itoa(as.Port), mode))
	if err != nil {
		return nil, errors.New("the host in the secret cannot be understood")
	}
	config.User, config.Password, config.Database = as.User, as.Password, as.Database
	config.ConnectTimeout = 5 * time.Second
	return pgx.ConnectConfig(ctx, config)
}

func (server) LogIn(ctx context.Context, as steps.Login) error {
	conn, err := connect(ctx, as)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return conn.Ping(ctx)
}

func (server) SetPassword(ctx context.Context, as, _, next steps.Login) error {
	verifier, err := scram(next.Password)
	if err != nil {
		return err
	}
	conn, err := connect(ctx, as)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, alter(next.User, verifier))
	return err
}

// alter is a statement, as ALTER ROLE takes no parameters. The verifier's alphabet has
// neither quotes nor backslashes.
func alter(user, verifier string) string {
	return "ALTER ROLE " + pgx.Identifier{user}.Sanitize() + " PASSWORD '" + verifier + "'"
}

func (server) Clone(ctx context.Context, master, now, next steps.Login) error {
	if len(next.User) > 63 {
		return errors.New("the name is longer than the 63 bytes that PostgreSQL keeps")
	}
	verifier, err := scram(next.Password)
	if err != nil {
		return err
	}
	conn, err := connect(ctx, master)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var exists bool
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1)", next.User).Scan(&exists); err != nil {
			return err
		}
		if exists {
			_, err := tx.Exec(ctx, alter(next.User, verifier))
			return err
		}
		user := pgx.Identifier{next.User}.Sanitize()
		if _, err := tx.Exec(ctx, "CREATE ROLE "+user+" WITH LOGIN PASSWORD '"+verifier+"'"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "GRANT "+pgx.Identifier{now.User}.Sanitize()+" TO "+user)
		return err
	})
}

// rounds is PostgreSQL's default.
var rounds = 4096

// scram is what PostgreSQL keeps of a password (RFC 5803). Beyond ASCII a password would
// have to be normalised first, as the client will do it.
func scram(password string) (string, error) {
	for _, c := range []byte(password) {
		if c < ' ' || c > '~' {
			return "", errors.New("the new password has characters beyond printable ASCII")
		}
	}
	salt := make([]byte, 16)
	rand.Read(salt)
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return "", err
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", rounds, b64(salt), b64(stored[:]), b64(mac("Server Key"))), nil
}
