package inject

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

const getParametersByPath = "ssm:GetParametersByPath"

// IsPath reports whether a ref is a path of parameters, which ends in a slash. ECS has no such
// thing, and neither does Resolve: see Path.
func (ref Ref) IsPath() bool {
	return ref.Service == ParameterStore && strings.HasSuffix(ref.ID, "/")
}

// Path gets every parameter below a path, by its name from there on. When there is none it is an
// error, unless the ref is optional. The error is an *Error.
func (r *Resolver) Path(ctx context.Context, ref Ref) (map[string]Value, error) {
	return r.path(ctx, ref, true)
}

// path leaves values out that are not decrypted.
func (r *Resolver) path(ctx context.Context, ref Ref, decrypted bool) (map[string]Value, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	fail := func(err error) (map[string]Value, error) {
		return nil, &Error{ValueFrom: ref.ValueFrom, ID: ref.ID, Call: getParametersByPath, Role: r.Role, Err: err}
	}
	client := ssm.NewFromConfig(r.Config, func(o *ssm.Options) { o.Region = ref.Region })
	owner, path := "", ref.ID
	if i := strings.Index(ref.ID, ":parameter/"); i >= 0 {
		owner, path = ref.ID[:i+1], ref.ID[i+len(":parameter"):]
	}
	path = "/" + strings.Trim(path, "/") + "/"
	out := map[string]Value{}
	pages := ssm.NewGetParametersByPathPaginator(client, &ssm.GetParametersByPathInput{
		Path: aws.String(strings.TrimSuffix(path, "/")), Recursive: aws.Bool(true), WithDecryption: &decrypted,
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fail(parameterError(ref, err))
		}
		for _, p := range page.Parameters {
			// The call takes no ARN, so it cannot reach another account's.
			if !strings.HasPrefix(aws.ToString(p.ARN), owner) {
				return fail(fmt.Errorf("the path %s belongs to another account, and parameters can be listed by path in one's own alone", ref.ID))
			}
			name := strings.TrimPrefix(aws.ToString(p.Name), path)
			v := Value{ARN: aws.ToString(p.ARN), VersionID: strconv.FormatInt(p.Version, 10)}
			if decrypted {
				v.secret = aws.ToString(p.Value)
			}
			out[name] = v
		}
	}
	if len(out) == 0 && !ref.Optional {
		return fail(fmt.Errorf("fetching secret data from SSM Parameter Store in %s: there is no parameter below %s", ref.Region, path))
	}
	return out, nil
}

// Child is a parameter below a path.
func (ref Ref) Child(name string) Ref {
	if !strings.HasPrefix(ref.ID, "arn:") {
		ref.ID = "/" + strings.TrimLeft(ref.ID, "/")
	}
	ref.ID += name
	ref.ValueFrom, ref.Optional = ref.ID, false
	return ref
}
