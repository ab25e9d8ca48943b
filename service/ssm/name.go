package ssm

import (
	"context"
	"strings"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/internal/lazyregexp"
)

const (
	maxLevels = 15
	maxARN    = 1011 // characters of an ARN that leave the name usable
)

// ref is what a name in a request refers to, before anybody looked whether it exists.
type ref struct {
	account, region string
	id              string // the name without its first slash: x and /x are one parameter
	shown           string // as an answer names it; "" means as it was created
	selector        string // "3" or "prod"
	err             error  // why it cannot refer to anything; for those who may know
}

func (r *ref) arn() string { return arn(r.account, r.region, r.id) }

// arn has one slash after "parameter", whether the name begins with one or not.
func arn(account, region, id string) string {
	return "arn:aws:ssm:" + region + ":" + account + ":parameter/" + id
}

var (
	namePattern = lazyregexp.New(`^(/?[a-zA-Z0-9_.-]+|(/[a-zA-Z0-9_.-]+){2,})$`)
	pathPattern = lazyregexp.New(`^(/[a-zA-Z0-9_.-]+)*/?$`)
)

// parseName reads a name that an operation for writing takes: no ARN and no selector.
func parseName(ctx context.Context, given string) ref {
	request := caller.From(ctx)
	given = strings.Trim(given, " ")
	r := ref{account: request.Principal.Account, region: request.Region, shown: given, id: strings.TrimPrefix(given, "/")}
	switch {
	case !namePattern.MatchString(given) || hasPrefix(r.id, "ssm"):
		r.err = validation(badName)
	case len(r.arn()) > maxARN:
		r.err = validation("Parameter name: the Amazon Resource Name has %d characters, at most %d are allowed.", len(r.arn()), maxARN)
	}
	return r
}

// parseRef reads a name or an ARN, with a selector or without: what operations for
// reading take.
func parseRef(ctx context.Context, given string) ref {
	request := caller.From(ctx)
	given = strings.Trim(given, " ")
	if rest, isARN := strings.CutPrefix(given, "arn:"); isARN {
		parts := strings.SplitN(rest, ":", 6)
		r := ref{account: request.Principal.Account, region: request.Region, id: rest, err: validation(badName)}
		if len(parts) < 5 || parts[0] != "aws" || parts[1] != "ssm" || !isAccount(parts[3]) || !strings.HasPrefix(parts[4], "parameter/") {
			return r
		}
		name := strings.TrimPrefix(parts[4], "parameter")
		r.account, r.region, r.id = parts[3], parts[2], name[1:]
		if len(parts) == 6 {
			r.selector = parts[5]
		}
		switch {
		case r.region != request.Region:
			r.err = notFound()
		case namePattern.MatchString(name):
			r.err = nil
		}
		return r
	}
	name, selector, selected := strings.Cut(given, ":")
	r := parseName(ctx, name)
	r.selector = selector
	if selected && selector == "" && r.err == nil {
		r.err = validation(badName)
	}
	return r
}

// parseVersion reads a selector that is a number: digits and nothing else. No version has
// more of them than 18.
func parseVersion(selector string) (number int64, ok bool) {
	if selector == "" || len(selector) > 18 {
		return 0, false
	}
	for _, c := range []byte(selector) {
		if c < '0' || c > '9' {
			return 0, false
		}
		number = number*10 + int64(c-'0')
	}
	return number, true
}

// parsePath reads the path of a part of the hierarchy. The id of "/" is "".
func parsePath(ctx context.Context, given string) ref {
	request := caller.From(ctx)
	r := ref{account: request.Principal.Account, region: request.Region}
	r.id = strings.Trim(given, "/")
	if given == "" || given[0] != '/' || !pathPattern.MatchString(given) {
		r.err = validation(badRequirements)
	}
	return r
}

// writable says whether a parameter of this name may be made.
func (r *ref) writable() error {
	first, _, hierarchical := strings.Cut(r.id, "/")
	switch {
	case hierarchical && !strings.HasPrefix(r.shown, "/"):
		return validation(notQualified)
	case hierarchical && hasPrefix(first, "aws"):
		return accessDenied("No access to reserved parameter name: %s.", r.shown)
	case !hierarchical && (hasPrefix(first, "aws") || hasPrefix(first, "ssm")):
		return validation(reservedPrefix)
	case r.err != nil:
		return r.err
	case strings.Count(r.id, "/")+1 > maxLevels:
		return tooManyLevels()
	}
	return nil
}

// isAccount keeps what is no account out of keys of the store.
func isAccount(s string) bool { return len(s) == 12 && strings.Trim(s, "0123456789") == "" }

func hasPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
