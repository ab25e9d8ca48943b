// Package s3file is what a task definition says of files in S3: where they are, and what an
// environment file means.
//
// It promises: a file says here what it says to the ECS agent, and no error tells a value.
//
// It reads no file (see inject). It is here, and not there, because a task definition is
// checked when it is registered, where nothing is read.
package s3file

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/internal/lazyregexp"
)

const (
	// MaxFiles is how many environment files a container can have.
	MaxFiles = 10
	// MaxSize is of malote: more than any environment that Linux takes.
	MaxSize = 8 << 20
)

// Object is where a file is.
type Object struct{ Partition, Bucket, Key string }

var arnPattern = lazyregexp.New(`^arn:([^:]+):s3:::([^/\s]+)/([^\x00-\x1f\x7f]+)$`)

// Parse reads the ARN of an object.
func Parse(arn string) (Object, error) {
	m := arnPattern.FindStringSubmatch(arn)
	if m == nil {
		return Object{}, fmt.Errorf("%q is not the ARN of an object in S3 (arn:aws:s3:::bucket/key)", arn)
	}
	return Object{m[1], m[2], m[3]}, nil
}

// ARN is the object's.
func (o Object) ARN() string { return o.BucketARN() + "/" + o.Key }

// BucketARN is its bucket's.
func (o Object) BucketARN() string { return "arn:" + o.Partition + ":s3:::" + o.Bucket }

// Check returns what is wrong with a container's environmentFiles.
func Check(files []types.EnvironmentFile) error {
	if len(files) > MaxFiles {
		return fmt.Errorf("There are %d environment files; a container can have at most %d.", len(files), MaxFiles)
	}
	for _, f := range files {
		if f.Type != types.EnvironmentFileTypeS3 {
			return fmt.Errorf("The type of an environment file is '%s'; it must be s3.", f.Type)
		}
		o, err := Parse(aws.ToString(f.Value))
		if err != nil {
			return fmt.Errorf("The value %w.", err)
		}
		if !strings.HasSuffix(o.Key, ".env") {
			return fmt.Errorf("The environment file '%s' must have the extension .env.", aws.ToString(f.Value))
		}
	}
	return nil
}

// Variables reads an environment file: NAME=VALUE lines, of which those that begin with # and
// those without a name or = are left out. Nothing is trimmed, unquoted or expanded. Of a name
// that is there twice the last value counts.
func Variables(file []byte) (map[string]string, error) {
	out := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(file))
	n := 0
	for lines.Scan() {
		n++
		name, value, ok := strings.Cut(lines.Text(), "=")
		if !ok || name == "" || name[0] == '#' {
			continue
		}
		if strings.ContainsRune(name, 0) || strings.ContainsRune(value, 0) {
			return nil, fmt.Errorf("line %d has a null character, which an environment cannot hold", n)
		}
		out[name] = value
	}
	if lines.Err() != nil { // the agent's limit
		return nil, fmt.Errorf("line %d is longer than %d bytes", n+1, bufio.MaxScanTokenSize)
	}
	return out, nil
}
