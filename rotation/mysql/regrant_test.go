package mysql

import (
	"strings"
	"testing"
)

func TestRegrant(t *testing.T) {
	t.Parallel()
	for grant, want := range map[string]string{
		"GRANT USAGE ON *.* TO `app`@`%` IDENTIFIED BY PASSWORD '*AB'": "GRANT USAGE ON *.* TO ?@'%'",
		"GRANT SELECT ON `shop`.* TO 'app'@'%' WITH GRANT OPTION":      "GRANT SELECT ON `shop`.* TO ?@'%' WITH GRANT OPTION",
		"GRANT `r`@`%` TO `app`@`%` WITH ADMIN OPTION":                 "GRANT `r`@`%` TO ?@'%' WITH ADMIN OPTION",
		"SET DEFAULT ROLE `r` FOR `app`@`%`":                           "SET DEFAULT ROLE `r` FOR ?@'%'",
		"GRANT SELECT ON ` TO ``app``@``%```.* TO `app`@`%`":           "GRANT SELECT ON ` TO ``app``@``%```.* TO ?@'%'",
		"GRANT SELECT ON `what?`.* TO `app`@`%`":                       "",
		"GRANT SELECT ON `shop`.* TO `app`@`localhost`":                "",
		"GRANT SELECT ON `shop`.* TO `other`@`%`":                      "",
	} {
		if got, ok := regrant(grant, "app"); got != want || ok != (want != "") {
			t.Errorf("%s: %s, %v", grant, got, ok)
		}
	}
}

// A statement has one parameter, ends after it but for an option, and no hash.
func FuzzRegrant(f *testing.F) {
	f.Add("GRANT USAGE ON *.* TO `app`@`%` IDENTIFIED BY PASSWORD '*AB' WITH GRANT OPTION", "app")
	f.Add("SET DEFAULT ROLE `r` FOR `a``b`@`%`", "a`b")
	f.Fuzz(func(t *testing.T, grant, user string) {
		statement, ok := regrant(grant, user)
		if !ok {
			return
		}
		if strings.Count(statement, "?") != 1 {
			t.Fatalf("%q: %q", grant, statement)
		}
		before, after, _ := strings.Cut(statement, "?@'%'")
		for _, option := range []string{" WITH GRANT OPTION", " WITH ADMIN OPTION"} {
			after = strings.TrimPrefix(after, option)
		}
		if after != "" || !strings.HasPrefix(grant, strings.TrimSuffix(strings.TrimSuffix(before, " TO "), " FOR ")) {
			t.Fatalf("%q: %q", grant, statement)
		}
	})
}
