package ecs

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/store"
)

// scope is the account and region that a request is about.
type scope struct{ account, region string }

func scopeOf(ctx context.Context) scope {
	r := caller.From(ctx)
	return scope{r.Principal.Account, r.Region}
}

// key is ecs/ACCOUNT/REGION/KIND/ID…
func (sc scope) key(kind string, id ...string) string {
	return "ecs/" + sc.account + "/" + sc.region + "/" + kind + "/" + strings.Join(id, "/")
}

// allScopes returns those that have anything of ECS.
func allScopes(tx store.Tx) ([]scope, error) {
	const root = "ecs/"
	var found []scope
	for after := ""; ; {
		next := ""
		for e, err := range tx.Scan(root, after) {
			if err != nil {
				return nil, err
			}
			next = e.Key
			break
		}
		parts := strings.SplitN(strings.TrimPrefix(next, root), "/", 3)
		if len(parts) != 3 {
			return found, nil
		}
		sc := scope{parts[0], parts[1]}
		found = append(found, sc)
		after = root + sc.account + "/" + sc.region + "0" // "0" follows "/"
	}
}

// prefix is the key of all of kind below id.
func (sc scope) prefix(kind string, id ...string) string {
	if len(id) == 0 {
		return sc.key(kind)
	}
	return sc.key(kind, id...) + "/"
}

func (sc scope) arn(resource string) string {
	return "arn:" + partition(sc.region) + ":ecs:" + sc.region + ":" + sc.account + ":" + resource
}

func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

func (sc scope) clusterARN(name string) string     { return sc.arn("cluster/" + name) }
func (sc scope) taskARN(cluster, id string) string { return sc.arn("task/" + cluster + "/" + id) }
func (sc scope) instanceARN(cluster, id string) string {
	return sc.arn("container-instance/" + cluster + "/" + id)
}
func (sc scope) definitionARN(family string, revision int32) string {
	return sc.arn("task-definition/" + family + ":" + strconv.Itoa(int(revision)))
}

// roleARN is the ARN of a role that a definition names by its ARN or by its name alone.
func (sc scope) roleARN(role string) string {
	if role == "" || strings.HasPrefix(role, "arn:") {
		return role
	}
	return "arn:" + partition(sc.region) + ":iam::" + sc.account + ":role/" + strings.TrimPrefix(role, "/")
}

// splitARN splits an ARN of ECS into its scope and its resource ("task/web/0123…").
func splitARN(s string) (scope, string, bool) {
	p := strings.SplitN(s, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[2] != "ecs" || p[5] == "" {
		return scope{}, "", false
	}
	return scope{account: p[4], region: p[3]}, p[5], true
}

var clusterPattern = lazyregexp.New(`^[A-Za-z0-9_-]{1,255}$`)

// clusterName is the name of the cluster that a request means by its name, its ARN or
// nothing. A cluster of another account or region is not found here.
func (sc scope) clusterName(ref *string) (string, error) {
	name := aws.ToString(ref)
	if name == "" {
		return "default", nil
	}
	if strings.HasPrefix(name, "arn:") {
		owner, resource, ok := splitARN(name)
		id, isCluster := strings.CutPrefix(resource, "cluster/")
		if !ok || !isCluster {
			return "", invalidParameter("Invalid identifier: %s", name)
		}
		if owner != sc {
			return "", clusterNotFound()
		}
		name = id
	}
	if !clusterPattern.MatchString(name) {
		return "", invalidParameter("Invalid cluster name.")
	}
	return name, nil
}

var idPattern = lazyregexp.New(`^[0-9a-fA-F-]{1,36}$`)

// member is the id that ref means, alone or as the ARN of a kind ("task",
// "container-instance") in cluster; "" when it cannot be of that cluster.
func (sc scope) member(kind, cluster, ref string) (string, error) {
	if !strings.HasPrefix(ref, "arn:") {
		if len(ref) > 36 {
			return "", invalidParameter("%sId longer than 36.", map[string]string{"task": "task", "container-instance": "containerInstance"}[kind])
		}
		if !idPattern.MatchString(ref) {
			return "", invalidParameter("Invalid identifier: Unexpected number of separators or characters in '%s'.", ref)
		}
		return ref, nil
	}
	owner, resource, ok := splitARN(ref)
	parts := strings.Split(resource, "/")
	if !ok || parts[0] != kind || len(parts) < 2 || len(parts) > 3 {
		return "", invalidParameter("Invalid identifier: Identifier is for %s. Your request is for %s.", parts[0], kind)
	}
	id := parts[len(parts)-1]
	if owner != sc || len(parts) == 3 && parts[1] != cluster || !idPattern.MatchString(id) {
		return "", nil
	}
	return id, nil
}

func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// page cuts items to one page after token. The token is the last item of the page
// before, found again or, in ascending lists, passed: items may come and go meanwhile.
func page(items []string, maxResults *int32, token *string, after func(item, last string) bool) ([]string, *string, error) {
	const limit = 100
	n := limit
	if maxResults != nil {
		if *maxResults < 1 || *maxResults > limit {
			return nil, nil, invalidParameter("maxResults must be between 1 and %d.", limit)
		}
		n = int(*maxResults)
	}
	if t := aws.ToString(token); t != "" {
		last, err := base64.RawURLEncoding.DecodeString(t)
		if err != nil {
			return nil, nil, invalidParameter("Invalid token.")
		}
		start := slices.IndexFunc(items, func(item string) bool { return after(item, string(last)) })
		if start < 0 {
			start = len(items)
		}
		items = items[start:]
	}
	if items == nil {
		items = []string{}
	}
	if len(items) <= n {
		return items, nil, nil
	}
	return items[:n], aws.String(base64.RawURLEncoding.EncodeToString([]byte(items[n-1]))), nil
}

func ascending(item, last string) bool { return item > last }
