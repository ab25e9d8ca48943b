package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Whoever is known by a token or a role is known where AWS_ENDPOINT_URL leads, and Amazon never
// hears of it.
func TestCredentialsComeFromTheEndpoint(t *testing.T) {
	dir := t.TempDir()
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		action := r.FormValue("Action")
		asked = append(asked, action)
		fmt.Fprintf(w, `<%[1]sResponse><%[1]sResult><Credentials><AccessKeyId>ASIAHERE</AccessKeyId><SecretAccessKey>s</SecretAccessKey>`+
			`<SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></%[1]sResult></%[1]sResponse>`, action)
	}))
	defer server.Close()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	profiles := write("config", "[profile base]\naws_access_key_id=AKIABASE\naws_secret_access_key=s\n"+
		"[profile role]\nrole_arn=arn:aws:iam::123456789012:role/r\nsource_profile=base\n")
	for _, tt := range []struct {
		name string
		env  map[string]string
		want string
	}{
		{"token", map[string]string{"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/r", "AWS_WEB_IDENTITY_TOKEN_FILE": write("token", "token")}, "AssumeRoleWithWebIdentity"},
		{"role", map[string]string{"AWS_CONFIG_FILE": profiles, "AWS_PROFILE": "role"}, "AssumeRole"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CA_BUNDLE"} {
				t.Setenv(name, "")
			}
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "none"))
			t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "none"))
			t.Setenv("AWS_ENDPOINT_URL", server.URL)
			t.Setenv("AWS_REGION", "us-east-1")
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			asked = nil
			cfg, err := loadConfig(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			keys, err := cfg.Credentials.Retrieve(t.Context())
			if err != nil || keys.AccessKeyID != "ASIAHERE" || len(asked) != 1 || asked[0] != tt.want {
				t.Errorf("%v, %v; asked for %q, want one %s", keys.AccessKeyID, err, asked, tt.want)
			}
		})
	}
}

// Keys of Amazon's in the home directory are not used by who names a data directory: what is
// put there would go to Amazon.
func TestADataDirectoryGoesBeforeFiles(t *testing.T) {
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".aws", "credentials"), []byte("[default]\naws_access_key_id=AKIAAMAZON\naws_secret_access_key=s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", home)
	if !(connectFlags{}).configured() {
		t.Error("a file of keys configures nothing")
	}
	f := connectFlags{DataDir: filepath.Join(t.TempDir(), "data")}
	l, err := f.link(t.Context(), &program{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if l.plane == nil || l.plane.dir != f.DataDir {
		t.Errorf("connected to %s, want what is in %s", aws.ToString(l.aws.BaseEndpoint), f.DataDir)
	}
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	if !f.configured() {
		t.Error("AWS_ENDPOINT_URL is passed over")
	}
}
