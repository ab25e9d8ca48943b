package s3file_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/internal/s3file"
)

func TestVariables(t *testing.T) {
	t.Parallel()
	file := "# comment\n #A=leading space\nB=1\nB=2\n\nno value\n=no name\nC= spaced \nD=\"quoted\"\nexport E=e\nF=a=b\nG=\nH=$B\r\nlast=without a line's end"
	got, err := s3file.Variables([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{" #A": "leading space", "B": "2", "C": " spaced ", "D": `"quoted"`, "export E": "e", "F": "a=b", "G": "", "H": "$B", "last": "without a line's end"}
	if !maps.Equal(got, want) {
		t.Errorf("Variables = %q, want %q", got, want)
	}
	for name, file := range map[string]string{
		"line 2 is longer than": "A=b\nB=secret" + strings.Repeat("x", 64<<10),
		"line 1 has a null":     "A=secret\x00",
	} {
		if _, err := s3file.Variables([]byte(file)); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "secret") {
			t.Errorf("Variables = %v, want %q", err, name)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	file := func(kind, value string) []types.EnvironmentFile {
		return []types.EnvironmentFile{{Type: types.EnvironmentFileType(kind), Value: aws.String(value)}}
	}
	good := file("s3", "arn:aws:s3:::b/a/k.env")
	var many []types.EnvironmentFile
	for range 11 {
		many = append(many, good...)
	}
	for _, tt := range []struct {
		name  string
		files []types.EnvironmentFile
		want  string
	}{
		{"a file", good, ""},
		{"of another partition", file("s3", "arn:aws-cn:s3:::b/k.env"), ""},
		{"too many", many, "at most 10"},
		{"another type", file("efs", "arn:aws:s3:::b/k.env"), "must be s3"},
		{"an address", file("s3", "s3://b/k.env"), "is not the ARN"},
		{"no key", file("s3", "arn:aws:s3:::b"), "is not the ARN"},
		{"another extension", file("s3", "arn:aws:s3:::b/k.txt"), "extension .env"},
	} {
		err := s3file.Check(tt.files)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: Check = %v, want %q", tt.name, err, tt.want)
		}
	}
}
