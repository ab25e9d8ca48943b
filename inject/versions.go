package inject

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

const describeSecret = "secretsmanager:DescribeSecret"

// Versions says by ValueFrom which version each ref would be given now, and gets no value: no key
// is asked to decrypt anything. Of a ref that is not among them it cannot tell: it is a parameter
// that refers to a secret, a secret that may not be described or one that is deleted. What failed is in the
// error, an Errors, beside the versions of the rest.
func (r *Resolver) Versions(ctx context.Context, refs []Ref) (map[string]string, error) {
	b := r.batch()
	b.sealed = true
	for _, call := range secretCalls(refs) {
		b.group.Go(func() error { b.describeSecret(ctx, call); return nil })
	}
	plain := slices.DeleteFunc(slices.Clone(refs), func(ref Ref) bool { return strings.Contains(ref.ID, "/aws/reference/secretsmanager/") })
	for _, call := range parameterCalls(plain) {
		b.group.Go(func() error { b.getParameters(ctx, call); return nil })
	}
	b.group.Wait()
	versions := make(map[string]string, len(b.values))
	for valueFrom, v := range b.values {
		versions[valueFrom] = v.VersionID
	}
	if errs := b.errors(refs); errs != nil {
		return versions, errs
	}
	return versions, nil
}

// PathVersions says which version each parameter below a path has, by its name from there on, and
// gets no value. The error is an *Error.
func (r *Resolver) PathVersions(ctx context.Context, ref Ref) (map[string]string, error) {
	values, err := r.path(ctx, ref, false)
	if err != nil {
		return nil, err
	}
	versions := make(map[string]string, len(values))
	for name, v := range values {
		versions[name] = v.VersionID
	}
	return versions, nil
}

func (b *batch) describeSecret(ctx context.Context, refs []Ref) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	first := refs[0]
	client := secretsmanager.NewFromConfig(b.resolver.Config, func(o *secretsmanager.Options) { o.Region = first.Region })
	out, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String(first.ID)})
	switch {
	case err != nil && strings.HasPrefix(code(err), "AccessDenied"), err == nil && out.DeletedDate != nil:
		return // GetSecretValue says what there is to say
	case err != nil:
		for _, ref := range refs {
			b.fail(ref, describeSecret, secretError(ref, err))
		}
		return
	}
	stage := first.VersionStage
	if stage == "" {
		stage = "AWSCURRENT"
	}
	for id, stages := range out.VersionIdsToStages {
		if first.VersionID == id || first.VersionID == "" && slices.Contains(stages, stage) {
			for _, ref := range refs {
				b.succeed(ref, Value{ARN: aws.ToString(out.ARN), VersionID: id})
			}
		}
	}
}
