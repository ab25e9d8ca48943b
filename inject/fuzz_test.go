package inject

import (
	"encoding/json"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"name", "/a/b:3", "arn:aws:ssm:r:1:parameter/x:y", "arn:aws:secretsmanager:r:1:secret:x-AbCdEf:k:s:v", "arn:", "arn:::::", ":::", "/aws/reference/secretsmanager/x:y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, valueFrom string) {
		ref, err := Parse(valueFrom, "us-east-1")
		if err != nil {
			return
		}
		if ref.ValueFrom != valueFrom || ref.ID == "" || ref.Region == "" {
			t.Fatalf("Parse(%q) = %+v", valueFrom, ref)
		}
		// What was understood says what was written.
		switch ref.Service {
		case ParameterStore:
			split(ref.ID)
			if ref.ID != valueFrom {
				t.Fatalf("Parse(%q) = %+v", valueFrom, ref)
			}
		case SecretsManager:
			suffixed := ref.ID + ":" + ref.JSONKey + ":" + ref.VersionStage + ":" + ref.VersionID
			if valueFrom != suffixed && (valueFrom != ref.ID || ref.JSONKey+ref.VersionStage+ref.VersionID != "") {
				t.Fatalf("Parse(%q) = %+v", valueFrom, ref)
			}
		default:
			t.Fatalf("Parse(%q) = %+v", valueFrom, ref)
		}
	})
}

func FuzzExtract(f *testing.F) {
	f.Add(`{"a":"b"}`, "a")
	f.Add(` {"a": 1e6 }`, "a")
	f.Add(`null`, "a")
	f.Add(``, "")
	f.Add(`{"a":{"a":"\ud800"}}`, "a")
	f.Fuzz(func(t *testing.T, secret, key string) {
		got, err := extract(secret, key)
		if err != nil {
			return
		}
		var object map[string]any
		if bad := json.Unmarshal([]byte(secret), &object); bad != nil {
			t.Fatalf("extract(%q, %q) = %q of what is no object: %v", secret, key, got, bad)
		}
		if text, ok := object[key].(string); ok {
			if got != text {
				t.Fatalf("extract(%q, %q) = %q, want %q", secret, key, got, text)
			}
		} else if !json.Valid([]byte(got)) || !strings.Contains(secret, got) {
			t.Fatalf("extract(%q, %q) = %q, which is not as written", secret, key, got)
		}
	})
}
