// Package mysql rotates passwords of users of MySQL and MariaDB.
//
// It promises: MariaDB gets the hash that it keeps (mysql_native_password), so that no
// password is in a statement. MySQL takes passwords in clear only, and writes <secret> in
// their place into its own logs.
package mysql

import (
	"context"
	"crypto/sha1"
	"database/sql"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/malote/malote/rotation"
	"github.com/malote/malote/rotation/steps"
)

// SingleUser changes the password of the secret's user.
func SingleUser(password steps.Password) rotation.Function {
	return steps.SingleUser(server{}, password)
}

// AlternatingUsers rotates between a user and its clone, which gets the user's grants when it is made.
func AlternatingUsers(password steps.Password) rotation.Function {
	return steps.AlternatingUsers(server{}, password)
}

type server struct{}

func (server) Parse(value string) (steps.Login, error) {
	return steps.ParseLogin(value, 3306, "mysql", "mariadb", "aurora-mysql")
}

// open has the driver put parameters into the text, escaped: statements on users cannot be prepared.
func open(ctx context.Context, as steps.Login) (*sql.Conn, func(), error) {
	config := mysql.NewConfig()
	config.Net, config.Addr, config.User, config.Passwd, config.DBName = "tcp", as.Address(), as.User, as.Password, as.Database
	config.TLSConfig = map[steps.TLS]string{steps.TLSPreferred: "preferred", steps.TLSVerified: "true", steps.TLSNever: "false"}[as.TLS]
	config.Timeout, config.InterpolateParams, config.Logger = 5*time.Second, true, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, nil, err
	}
	db := sql.OpenDB(connector)
	conn, err := db.Conn(ctx)
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	return conn, func() { conn.Close(); db.Close() }, nil
}

func (server) LogIn(ctx context.Context, as steps.Login) error {
	conn, done, err := open(ctx, as)
	if err != nil {
		return err
	}
	defer done()
	return conn.PingContext(ctx)
}

func isMariaDB(ctx context.Context, conn *sql.Conn) (bool, error) {
	var version string
	err := conn.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version)
	return strings.Contains(version, "MariaDB"), err
}

// native is what mysql_native_password keeps of a password.
func native(password string) string {
	once := sha1.Sum([]byte(password))
	twice := sha1.Sum(once[:])
	return "*" + strings.ToUpper(hex.EncodeToString(twice[:]))
}

func (server) SetPassword(ctx context.Context, as, _, next steps.Login) error {
	conn, done, err := open(ctx, as)
	if err != nil {
		return err
	}
	defer done()
	return setPassword(ctx, conn, as.User, next)
}

func setPassword(ctx context.Context, conn *sql.Conn, as string, next steps.Login) error {
	maria, err := isMariaDB(ctx, conn)
	if err != nil {
		return err
	}
	word := next.Password
	if maria {
		word = native(word)
	}
	if as == next.User { // whatever host the account has
		_, err = conn.ExecContext(ctx, "SET PASSWORD = ?", word)
	} else {
		_, err = conn.ExecContext(ctx, "SET PASSWORD FOR ?@'%' = ?", next.User, word)
	}
	return steps.Redact(err, word)
}

func (server) Clone(ctx context.Context, master, now, next steps.Login) error {
	conn, done, err := open(ctx, master)
	if err != nil {
		return err
	}
	defer done()
	var users, made int
	const count = "SELECT COUNT(*), COUNT(CASE WHEN authentication_string <> '' THEN 1 END) FROM mysql.user WHERE User = ? AND Host = '%'"
	if err := conn.QueryRowContext(ctx, count, next.User).Scan(&users, &made); err != nil {
		return err
	}
	if made > 0 {
		return setPassword(ctx, conn, master.User, next)
	}
	// Locked and without a password until it has its grants: what stops half-way opens
	// nothing, and is taken up here by the next attempt.
	if users == 0 {
		if _, err := conn.ExecContext(ctx, "CREATE USER ?@'%' ACCOUNT LOCK", next.User); err != nil {
			return err
		}
	}
	if err := copyGrants(ctx, conn, now.User, next.User); err != nil {
		return err
	}
	return unlock(ctx, conn, next)
}

// unlock gives a clone its password and lets it in, at once.
func unlock(ctx context.Context, conn *sql.Conn, next steps.Login) error {
	maria, err := isMariaDB(ctx, conn)
	if err != nil {
		return err
	}
	statement, word := "ALTER USER ?@'%' IDENTIFIED BY ? ACCOUNT UNLOCK", next.Password
	if maria {
		statement, word = "ALTER USER ?@'%' IDENTIFIED BY PASSWORD ? ACCOUNT UNLOCK", native(word)
	}
	_, err = conn.ExecContext(ctx, statement, next.User, word)
	return steps.Redact(err, word)
}

func copyGrants(ctx context.Context, conn *sql.Conn, from, to string) error {
	rows, err := conn.QueryContext(ctx, "SHOW GRANTS FOR ?@'%'", from)
	if err != nil {
		return err
	}
	defer rows.Close()
	var grants []string
	for rows.Next() {
		var grant string
		if err := rows.Scan(&grant); err != nil {
			return err
		}
		grants = append(grants, grant)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for i, grant := range grants {
		statement, ok := regrant(grant, from)
		if !ok {
			return fmt.Errorf("grant %d of %d of user %q is of a form that cannot be copied", i+1, len(grants), from)
		}
		if _, err := conn.ExecContext(ctx, statement, to); err != nil {
			return fmt.Errorf("copying grant %d of %d: %w", i+1, len(grants), err)
		}
	}
	return nil
}

// regrant is a line of SHOW GRANTS with ? in the place of the user. What follows the user
// is its password's hash and its options, of which WITH GRANT OPTION alone is kept.
func regrant(grant, user string) (string, bool) {
	word := " TO "
	if strings.HasPrefix(grant, "SET DEFAULT ROLE ") {
		word = " FOR "
	}
	for _, quote := range []string{"`", "'"} {
		name := quote + strings.ReplaceAll(user, quote, quote+quote) + quote + "@" + quote + "%" + quote
		at := strings.LastIndex(grant, word+name)
		if at < 0 {
			continue
		}
		rest := grant[at+len(word+name):]
		// A ? in a name would be taken for a parameter.
		if strings.Contains(grant[:at], "?") {
			return "", false
		}
		statement := grant[:at] + word + "?@'%'"
		for _, option := range []string{" WITH GRANT OPTION", " WITH ADMIN OPTION"} {
			if strings.Contains(rest, option) {
				statement += option
			}
		}
		return statement, true
	}
	return "", false
}
