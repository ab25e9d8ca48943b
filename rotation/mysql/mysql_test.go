package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/malote/malote/rotation/builtin"
	"github.com/malote/malote/rotation/rotationtest"
)

func TestRotations(t *testing.T) {
	for _, name := range []string{"mysql-single-user", "mysql-alternating-users"} {
		t.Run(name, func(t *testing.T) {
			function, err := builtin.Named(name, nil)
			if err != nil {
				t.Fatal(err)
			}
			sys := rotationtest.New(t, function)
			first := sys.Canaries.New()
			dir := rotationtest.Dir(t, "mysql")
			if out, err := rotationtest.Command(t, "mysql", "mariadb-install-db", "--no-defaults", "--datadir="+dir+"/data", "--auth-root-authentication-method=normal", "--skip-test-db").CombinedOutput(); err != nil {
				t.Fatalf("mariadb-install-db: %s", out)
			}
			port := rotationtest.FreePort(t)
			server := rotationtest.Start(t, rotationtest.Command(t, "mysql", "mariadbd", "--no-defaults", "--datadir="+dir+"/data", "--socket="+dir+"/s", "--pid-file="+dir+"/pid", "--bind-address=127.0.0.1",
				"--port="+strconv.Itoa(port), "--general-log", "--general-log-file="+dir+"/general.log"), port, dir)
			open := func(user, password string) (*sql.DB, error) {
				config := mysql.NewConfig()
				config.Net, config.Addr, config.User, config.Passwd, config.InterpolateParams = "tcp", fmt.Sprintf("127.0.0.1:%d", port), user, password, true
				connector, err := mysql.NewConnector(config)
				if err != nil {
					return nil, err
				}
				return sql.OpenDB(connector), nil
			}
			admin, err := open("root", "")
			if err != nil {
				t.Fatal(err)
			}
			admin.SetMaxOpenConns(1)
			defer admin.Close()
			for _, statement := range []string{
				"SET GLOBAL general_log = 0", "CREATE DATABASE shop", "CREATE TABLE shop.things (n int)",
				"CREATE USER 'app'@'%' IDENTIFIED BY '" + first + "'", "GRANT SELECT ON shop.* TO 'app'@'%'",
				"CREATE USER 'master'@'%' IDENTIFIED BY '" + first + "'", "GRANT ALL ON *.* TO 'master'@'%' WITH GRANT OPTION",
				"CREATE USER 'app_clone'@'%' ACCOUNT LOCK", // as an attempt leaves it that stops half-way
				"SET GLOBAL general_log = 1",
			} {
				if _, err := admin.ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			secret := `{"engine":"mariadb","host":"127.0.0.1","port":%d,"username":%q,"password":%q,"masterarn":%q}`
			master := ""
			if name == "mysql-alternating-users" {
				master = rotationtest.Secret(t, sys, "master", fmt.Sprintf(secret, port, "master", first, ""))
			}
			rotationtest.Check(t, sys, "app", fmt.Sprintf(secret, port, "app", first, master), master == "", func(ctx context.Context, user, password string) error {
				db, err := open(user, password)
				if err != nil {
					return err
				}
				defer db.Close()
				_, err = db.ExecContext(ctx, "SELECT n FROM shop.things") // the clone has the user's rights
				return err
			}, server.Log, filepath.Join(dir, "general.log"))
		})
	}
}
