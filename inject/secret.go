package inject

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

const getSecretValue = "secretsmanager:GetSecretValue"

// secretCalls returns refs in groups that one GetSecretValue answers: they differ
// in the JSON key alone.
func secretCalls(refs []Ref) [][]Ref {
	type call struct{ region, id, stage, version string }
	return groups(refs, func(ref Ref) (call, bool) {
		return call{ref.Region, ref.ID, ref.VersionStage, ref.VersionID}, ref.Service == SecretsManager
	})
}

func (b *batch) getSecret(ctx context.Context, refs []Ref) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	first := refs[0]
	client := secretsmanager.NewFromConfig(b.resolver.Config, func(o *secretsmanager.Options) { o.Region = first.Region })
	in := &secretsmanager.GetSecretValueInput{SecretId: aws.String(first.ID)}
	// Both at once is for Secrets Manager to judge.
	if first.VersionStage != "" {
		in.VersionStage = aws.String(first.VersionStage)
	}
	if first.VersionID != "" {
		in.VersionId = aws.String(first.VersionID)
	}
	out, err := client.GetSecretValue(ctx, in)
	for _, ref := range refs {
		if err != nil {
			b.fail(ref, getSecretValue, secretError(ref, err))
			continue
		}
		value := aws.ToString(out.SecretString)
		if out.SecretString == nil {
			if !b.resolver.Binary {
				b.fail(ref, getSecretValue, fmt.Errorf("secret %s is binary: it has a SecretBinary and no SecretString, and an environment variable holds text. Store it as text, base64-encoded if need be", ref.ID))
				continue
			}
			value = string(out.SecretBinary)
		}
		if ref.JSONKey != "" {
			var bad error
			if value, bad = extract(value, ref.JSONKey); bad != nil {
				b.fail(ref, getSecretValue, fmt.Errorf("secret %s: %w", ref.ID, bad))
				continue
			}
		}
		b.succeed(ref, Value{secret: value, ARN: aws.ToString(out.ARN), VersionID: aws.ToString(out.VersionId)})
	}
}

// extract returns a key of a JSON object, as text has it.
// An error names keys, never values.
func extract(secret, key string) (string, error) {
	object, why := object(secret)
	if why != "" {
		return "", fmt.Errorf("%s, so it has no key %s; for the whole secret leave the key out of valueFrom", why, strconv.Quote(key))
	}
	raw, ok := object[key]
	if !ok {
		return "", &absentError{fmt.Errorf("retrieved secret from Secrets Manager did not contain json key %s: %s", key, list(slices.Sorted(maps.Keys(object))))}
	}
	return text(key, raw)
}

// object reads a JSON object, or says why there is none. Of a key that occurs twice the last
// counts, as it does for ECS.
func object(secret string) (object map[string]json.RawMessage, why string) {
	if trimmed := strings.TrimLeft(secret, " \t\r\n"); !json.Valid([]byte(secret)) {
		return nil, "it is not JSON"
	} else if trimmed[0] != '{' {
		return nil, "it is JSON but not an object"
	}
	if err := json.Unmarshal([]byte(secret), &object); err != nil {
		return nil, "it is JSON that cannot be decoded" // the decoder's own words may quote it
	}
	return object, ""
}

// text is a string's text, or of any other value the JSON as it was written, so 1e6 stays
// 1e6. (ECS gives what Go's %v makes of it, 1e+06.)
func text(key string, raw json.RawMessage) (string, error) {
	if raw = bytes.TrimSpace(raw); raw[0] != '"' {
		return string(raw), nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", fmt.Errorf("its key %s is a string that cannot be decoded", strconv.Quote(key))
	}
	return text, nil
}

// Object returns the value of each key of a value that is a JSON object, as a JSON key in valueFrom would.
func Object(ref Ref, v Value) (map[string]Value, error) {
	keys, why := object(v.secret)
	if why != "" {
		return nil, &Error{ValueFrom: ref.ValueFrom, ID: ref.ID, Err: fmt.Errorf("%s: %s, so it cannot be expanded to variables", ref.ID, why)}
	}
	out := make(map[string]Value, len(keys))
	for key, raw := range keys {
		value, err := text(key, raw)
		if err != nil {
			return nil, &Error{ValueFrom: ref.ValueFrom, ID: ref.ID, Err: fmt.Errorf("%s: %w", ref.ID, err)}
		}
		out[key] = Value{secret: value, ARN: v.ARN, VersionID: v.VersionID}
	}
	return out, nil
}

// list names the keys that there are, as many and as much of them as a line bears.
func list(keys []string) string {
	const most, longest = 30, 64
	if len(keys) == 0 {
		return "it has none"
	}
	var out strings.Builder
	out.WriteString("it has ")
	for i, key := range keys {
		if i == most {
			fmt.Fprintf(&out, " and %d more", len(keys)-most)
			break
		}
		if i > 0 {
			out.WriteString(", ")
		}
		if len(key) > longest {
			key = strings.ToValidUTF8(key[:longest], "") + "…"
		}
		if quoted := strconv.Quote(key); quoted != `"`+key+`"` || strings.ContainsAny(key, ", ") {
			key = quoted
		}
		out.WriteString(key)
	}
	return out.String()
}
