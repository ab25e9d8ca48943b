package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

type envCommand struct {
	DataDir string `help:"Where the running malote keeps its data." env:"MALOTE_DATA_DIR" placeholder:"DIR"`
	Account string `help:"Whose admin. Default: the account of the malote that runs." placeholder:"ID"`
	Unset   bool   `help:"Print how to forget them again."`
}

func (envCommand) Help() string {
	return `The output is for a shell:

    eval "$(malote env)"
    aws sts get-caller-identity`
}

// Run prints shell assignments. The credentials are an account's admin's; only the user that runs
// malote, and root, can ask for them.
func (c *envCommand) Run(ctx context.Context, p *program) error {
	names := []string{"AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
	if c.Unset {
		_, err := fmt.Fprintln(p.stdout, "unset", strings.Join(names, " "), caBundle)
		return err
	}
	dir := dataDirOr(c.DataDir)
	local, err := localConnection(ctx, dir, c.Account)
	if errors.Is(err, errNotRunning) {
		return &hintError{fmt.Errorf("no malote runs on %s", dir), "start one with malote up" + dataDirFlag(c.DataDir) + ", or name its --data-dir"}
	}
	if err != nil {
		return err
	}
	values, forget := []string{local.Endpoint, local.Region, local.Region, local.AccessKeyID, local.SecretAccessKey}, "AWS_SESSION_TOKEN AWS_PROFILE"
	switch {
	case local.CABundle != "":
		names, values = append(names, caBundle), append(values, local.CABundle)
	case strings.HasPrefix(local.Endpoint, "http:"):
		forget += " " + caBundle // of a malote that was here before; an SDK that does not find the file refuses to work
	}
	for i, value := range values {
		if _, err := fmt.Fprintf(p.stdout, "export %s='%s'\n", names[i], strings.ReplaceAll(value, "'", `'\''`)); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(p.stdout, "unset", forget)
	return err
}

// caBundle is the variable by which the AWS CLI and the SDKs are told whom to trust.
const caBundle = "AWS_CA_BUNDLE"

// dataDirFlag is what a command has to be given so that it means the same data directory as this
// one, from whatever directory it is called: " --data-dir DIR", or nothing where none was named.
// The default is another thing when it is named: see configured.
func dataDirFlag(dir string) string {
	if dir == "" || dir == os.Getenv("MALOTE_DATA_DIR") {
		return ""
	}
	if whole, err := filepath.Abs(dir); err == nil {
		dir = whole
	}
	return " --data-dir " + shellWord(dir)
}

// storeFlag is the same for --store.
func storeFlag(store string) string {
	if _, _, _, err := parseStore(store); err != nil || store == os.Getenv("MALOTE_STORE") {
		return "" // what is refused may hold a password
	}
	return " --store " + shellWord(store)
}

// shellWord is s as a shell reads it.
func shellWord(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("-_./:@+=,", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return s
	}
	return quoted([]string{s})
}

func dataDirOr(dir string) string {
	if dir != "" {
		return dir
	}
	return defaultDataDir()
}
