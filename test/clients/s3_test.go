//go:build clients

package clients_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/malote/malote/malotetest"
)

// The AWS CLI's own commands for S3, and boto3 beneath them: each sends what it likes of
// checksums, ranges, parts and encodings.
func TestS3(t *testing.T) {
	sys := malotetest.New(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config"), "[default]\ns3 =\n  signature_version = s3v4\n")
	aws := cli{t, append(environ(t, sys), "AWS_CONFIG_FILE="+filepath.Join(dir, "config"))}
	s3 := func(args ...string) string {
		t.Helper()
		out, err := aws.run(append([]string{"s3"}, args...)...)
		if err != nil {
			t.Fatalf("aws s3 %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	canary := sys.Canary()
	s3("mb", "s3://files")
	many := filepath.Join(dir, "many")
	if err := os.Mkdir(many, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		write(t, filepath.Join(many, fmt.Sprintf("%d %%+ü.txt", i)), fmt.Sprintf("%d %s", i, canary))
	}
	s3("sync", many, "s3://files/many", "--no-progress")
	back := filepath.Join(dir, "back")
	s3("sync", "s3://files/many", back, "--no-progress")
	if out, err := exec.Command("diff", "-r", many, back).CombinedOutput(); err != nil {
		t.Errorf("what came back is not what went in: %s", out)
	}
	if out := s3("sync", many, "s3://files/many", "--no-progress"); out != "" {
		t.Errorf("a second sync has something to do: %s", out)
	}

	big, content := filepath.Join(dir, "big"), make([]byte, 40<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range content {
		content[i] = byte(r.Uint32())
	}
	if err := os.WriteFile(big, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s3("cp", big, "s3://files/big", "--no-progress", "--sse", "aws:kms")
	s3("cp", "s3://files/big", "s3://files/copy", "--no-progress")
	s3("mv", "s3://files/copy", "s3://files/moved", "--no-progress")
	s3("cp", "s3://files/moved", big+".back", "--no-progress")
	if got, err := os.ReadFile(big + ".back"); err != nil || !bytes.Equal(got, content) {
		t.Errorf("a big object: %d bytes, %v", len(got), err)
	}
	url := strings.TrimSpace(s3("presign", "s3://files/many/7 %+ü.txt"))
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || string(body) != "7 "+canary {
		t.Errorf("presigned: %s, %v", response.Status, err)
	}
	if out := s3("ls", "s3://files/"); !strings.Contains(out, "PRE many/") || !strings.Contains(out, "41943040 moved") {
		t.Errorf("ls: %s", out)
	}
	script := exec.Command("python3", "-c", boto, sys.Endpoint())
	script.Env = append(aws.env, "CANARY="+canary)
	if out, err := script.CombinedOutput(); err != nil {
		t.Errorf("boto3: %v\n%s", err, out)
	}
	s3("rm", "s3://files/many", "--recursive", "--quiet")
	s3("rb", "s3://files", "--force")
}

// boto has what the CLI does not use.
const boto = `
import boto3, io, os, botocore
canary = os.environ["CANARY"]
s3 = boto3.client("s3", config=botocore.config.Config(signature_version="s3v4"))
s3.create_bucket(Bucket="boto")
s3.put_bucket_versioning(Bucket="boto", VersioningConfiguration={"Status": "Enabled"})
for algorithm in ["CRC32", "SHA1", "SHA256"]:
    s3.upload_fileobj(io.BytesIO(canary.encode() * 300000), "boto", "k", ExtraArgs={"ChecksumAlgorithm": algorithm, "Metadata": {"colour": "blue"}})
assert s3.get_object(Bucket="boto", Key="k", ChecksumMode="ENABLED")["Body"].read() == canary.encode() * 300000
assert s3.head_object(Bucket="boto", Key="k")["Metadata"] == {"colour": "blue"}
assert s3.get_object(Bucket="boto", Key="k", Range="bytes=1-3")["Body"].read() == canary.encode()[1:4]
assert len(s3.list_object_versions(Bucket="boto")["Versions"]) == 3
try:
    s3.put_object(Bucket="boto", Key="k", Body=b"x", IfNoneMatch="*")
    raise SystemExit("a condition that does not hold passes")
except botocore.exceptions.ClientError as e:
    assert e.response["Error"]["Code"] == "PreconditionFailed", e
try:
    s3.get_object(Bucket="boto", Key="none")
    raise SystemExit("there is something")
except s3.exceptions.NoSuchKey:
    pass
boto3.resource("s3").Bucket("boto").object_versions.delete()
assert "Versions" not in s3.list_object_versions(Bucket="boto")
s3.delete_bucket(Bucket="boto")
`
