package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const described = `{"service": "kms", "apiVersion": "2014-11-01", "targetPrefix": "TrentService", "operations": {
	"Encrypt": {"errors": {"Gone": {}, "Late": {"code": "TooLate", "httpStatusCode": 409}},
		"input": {"type": "structure", "shape": "EncryptRequest", "required": ["KeyId"], "members": {
			"KeyId": {"type": "string", "min": 1, "max": 2048, "pattern": "<\\w>"},
			"Plaintext": {"type": "blob", "sensitive": true},
			"Tags": {"type": "list", "member": {"type": "structure", "shape": "Tag", "members": {"K": {"type": "string"}}}}}}},
	"Decrypt": {"input": {"type": "structure", "shape": "DecryptRequest", "members": {
		"Tag": {"ref": "Tag"}, "More": {"type": "map", "key": {"type": "string"}, "value": {"type": "string"}}}}}}}`

const table = `service kms json 2014-11-01 TrentService
op Decrypt {"in":3}
op Encrypt {"errors":["Gone","Late"],"in":7}
errors {"Gone":["Gone",0],"Late":["TooLate",409]}
{"type":"string"}
{"key":0,"type":"map","value":0}
{"members":{"K":0},"shape":"Tag","type":"structure"}
{"members":{"More":1,"Tag":2},"shape":"DecryptRequest","type":"structure"}
{"max":2048,"min":1,"pattern":"<\\w>","type":"string"}
{"sensitive":true,"type":"blob"}
{"member":2,"type":"list"}
{"members":{"KeyId":4,"Plaintext":5,"Tags":6},"required":["KeyId"],"shape":"EncryptRequest","type":"structure"}
`

func TestRun(t *testing.T) {
	t.Parallel()
	in, out := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(in, "any.json"), []byte(described), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{in, out}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(out, "kms.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != table {
		t.Errorf("table:\n%s\nwant:\n%s", got, table)
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	circular := strings.Replace(described, `"K": {"type": "string"}`, `"K": {"ref": "Tag"}`, 1)
	nowhere := strings.Replace(described, `"ref": "Tag"`, `"ref": "Nothing"`, 1)
	for text, want := range map[string]string{circular: "contains itself", nowhere: "Nothing is written out nowhere", "{": "unexpected end"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "any.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run([]string{dir, dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("run = %v, want %s", err, want)
		}
	}
	for _, args := range [][]string{nil, {"a", "b", "c"}, {t.TempDir()}} {
		if err := run(args); err == nil {
			t.Errorf("run(%q) succeeds", args)
		}
	}
}
