// Package builtin has the rotation functions that come with malote, by name.
package builtin

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/malote/malote/rotation"
	"github.com/malote/malote/rotation/mysql"
	"github.com/malote/malote/rotation/postgres"
	"github.com/malote/malote/rotation/random"
	"github.com/malote/malote/rotation/redis"
	"github.com/malote/malote/rotation/steps"
)

var logins = map[string]func(steps.Password) rotation.Function{
	"mysql-alternating-users":    mysql.AlternatingUsers,
	"mysql-single-user":          mysql.SingleUser,
	"postgres-alternating-users": postgres.AlternatingUsers,
	"postgres-single-user":       postgres.SingleUser,
	"redis-alternating-users":    redis.AlternatingUsers,
	"redis-single-user":          redis.SingleUser,
}

// Names are those that Named knows, sorted.
func Names() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(logins)), "random")))
}

// Named is the function of that name. Options are those of steps.ParsePassword and, for
// random, KEY: the key of a JSON object whose value is drawn. An option that the function
// does not have is an error.
func Named(name string, options map[string]string) (rotation.Function, error) {
	login, known := logins[name]
	if !known && name != "random" {
		return nil, fmt.Errorf("there is no rotation function %q: there are %s", name, strings.Join(Names(), ", "))
	}
	options = maps.Clone(options)
	key := ""
	if name == "random" {
		key = options["KEY"]
		delete(options, "KEY")
	}
	password, err := steps.ParsePassword(options)
	if err != nil {
		return nil, fmt.Errorf("rotation function %s: %w", name, err)
	}
	if len(options) > 0 {
		return nil, fmt.Errorf("rotation function %s has no option %s", name, strings.Join(slices.Sorted(maps.Keys(options)), ", "))
	}
	if login == nil {
		return random.New(password, key), nil
	}
	return login(password), nil
}
