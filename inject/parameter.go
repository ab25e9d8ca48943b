package inject

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
)

const (
	getParameters = "ssm:GetParameters"
	perCall       = 10 // GetParameters takes no more
)

// parameterCalls returns refs in groups that one GetParameters answers: of one
// region, ten at most. One that is asked for in two ways, by name and by ARN,
// is asked for twice.
func parameterCalls(refs []Ref) [][]Ref {
	var calls [][]Ref
	for _, region := range groups(refs, func(ref Ref) (string, bool) { return ref.Region, ref.Service == ParameterStore }) {
		for len(region) > perCall {
			calls = append(calls, region[:perCall])
			region = region[perCall:]
		}
		calls = append(calls, region)
	}
	return calls
}

func (b *batch) getParameters(ctx context.Context, refs []Ref) {
	callCtx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	region := refs[0].Region
	client := ssm.NewFromConfig(b.resolver.Config, func(o *ssm.Options) { o.Region = region })
	in := &ssm.GetParametersInput{WithDecryption: aws.Bool(!b.sealed)}
	for _, ref := range refs {
		in.Names = append(in.Names, ref.ID)
	}
	out, err := client.GetParameters(callCtx, in)
	if err != nil {
		// One that is forbidden, or whose key is disabled, fails all. Asking for each
		// by itself tells which.
		if api, ok := errors.AsType[smithy.APIError](err); ok && len(refs) > 1 && api.ErrorFault() != smithy.FaultServer && !throttled(err) {
			for i := range refs {
				b.getParameters(ctx, refs[i:i+1])
			}
			return
		}
		for _, ref := range refs {
			b.fail(ref, getParameters, parameterError(ref, err))
		}
		return
	}
	for _, ref := range refs {
		p := find(out.Parameters, ref.ID)
		if p == nil {
			b.fail(ref, getParameters, &absentError{fmt.Errorf("fetching secret data from SSM Parameter Store in %s: invalid parameters: %s. %s", region, ref.ID, absent(ref))})
			continue
		}
		v := Value{ARN: aws.ToString(p.ARN), VersionID: strconv.FormatInt(p.Version, 10)}
		if !b.sealed {
			v.secret = aws.ToString(p.Value)
		}
		if source := p.SourceResult; source != nil {
			// A reference to Secrets Manager: the secret's own ARN and version.
			var secret struct{ ARN, VersionId string }
			if err := json.Unmarshal([]byte(*source), &secret); err == nil && secret.ARN != "" {
				v.ARN, v.VersionID = secret.ARN, secret.VersionId
			}
		}
		b.succeed(ref, v)
	}
}

func throttled(err error) bool {
	switch code(err) {
	case "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded":
		return true
	}
	return false
}

// absent says what may be wrong with a parameter that is not there.
func absent(ref Ref) string {
	base, selector := split(ref.ID)
	switch {
	case selector != "":
		return fmt.Sprintf("Check that the parameter exists in %s and has the version or label %s", ref.Region, selector)
	case strings.HasPrefix(base, "/aws/reference/secretsmanager/"):
		return "Check that the secret exists in " + ref.Region
	case strings.HasPrefix(base, "arn:"):
		return "Check that the parameter exists in " + ref.Region
	}
	return fmt.Sprintf("Check that the parameter exists in %s; a name without ARN is a parameter's, and a Secrets Manager secret is referred to by its full ARN", ref.Region)
}

// find returns the parameter that answers an ID. Answers come in any order, an ARN
// is answered with a name, and a selector apart.
func find(parameters []types.Parameter, id string) *types.Parameter {
	base, selector := split(id)
	for i := range parameters {
		p := &parameters[i]
		name := aws.ToString(p.Name)
		answered := strings.TrimPrefix(aws.ToString(p.Selector), ":")
		if name == id && answered == "" { // a reference's name is the whole of it
			return p
		}
		if (name == base || aws.ToString(p.ARN) == base) && answered == selector {
			return p
		}
	}
	return nil
}

// split parts a selector, without its colon, from a name or ARN.
func split(id string) (base, selector string) {
	name, prefix := id, ""
	if strings.HasPrefix(id, "arn:") {
		i := strings.Index(id, ":parameter/")
		prefix, name = id[:i+1], id[i+1:]
	}
	name, selector, _ = strings.Cut(name, ":")
	return prefix + name, selector
}
