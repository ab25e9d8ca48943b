package awsquery

import (
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/gateway/shape/shapetest"
)

const namespace = "https://iam.amazonaws.com/doc/2010-05-08/"

func decode(t *testing.T, text string, into any) error {
	t.Helper()
	form, err := Parse(text)
	if err != nil {
		return err
	}
	return form.Decode(into)
}

func TestDecode(t *testing.T) {
	t.Parallel()
	var in iam.CreateRoleInput
	err := decode(t, "Action=CreateRole&Version=2010-05-08&RoleName=a%2Bb+c&maxSessionDuration=3600&Unknown.member.1=x&"+
		"Tags.member.10.Key=j&Tags.member.10.Value=&Tags.member.2.Key=b&Tags.member.2.Value=%E2%82%AC&AssumeRolePolicyDocument=%7B%22a%22%3A1%7D", &in)
	if err != nil {
		t.Fatal(err)
	}
	if *in.RoleName != "a+b c" || *in.MaxSessionDuration != 3600 || *in.AssumeRolePolicyDocument != `{"a":1}` || in.Path != nil {
		t.Errorf("Decode = %+v", in)
	}
	if len(in.Tags) != 2 || *in.Tags[0].Key != "b" || *in.Tags[0].Value != "€" || *in.Tags[1].Key != "j" || *in.Tags[1].Value != "" {
		t.Errorf("Tags = %+v", in.Tags)
	}

	in = iam.CreateRoleInput{}
	if err := decode(t, "Tags=", &in); err != nil || in.Tags == nil || len(in.Tags) != 0 {
		t.Errorf("an empty list is %v, %v", in.Tags, err)
	}

	// The one member whose name has a small letter.
	var role sts.AssumeRoleInput
	if err := decode(t, "PolicyArns.member.1.arn=x&TransitiveTagKeys.member.1=k", &role); err != nil || *role.PolicyArns[0].Arn != "x" || role.TransitiveTagKeys[0] != "k" {
		t.Errorf("Decode = %+v, %v", role, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"MaxSessionDuration=x":                   "MalformedInput: The parameter MaxSessionDuration is not a valid integer.",
		"MaxSessionDuration=3000000000":          "MalformedInput: The parameter MaxSessionDuration is not a valid integer.",
		"MaxSessionDuration.member.1=3":          "MalformedInput: The parameter MaxSessionDuration is not a valid value.",
		"Tags=x":                                 "MalformedInput: The parameter Tags is not a valid list.",
		"Tags.member.x.Key=k":                    "MalformedInput: The parameter Tags is not a valid list.",
		"Tags.member.1.Key=k&Tags.member.01.Key": "MalformedInput: The parameter Tags is not a valid list.",
		"RoleName=%":                             "MalformedQueryString: The query string contains a syntax error.",
		"RoleName=%ff":                           "MalformedQueryString: The query string contains a syntax error.",
		strings.Repeat("a.", 100) + "=1":         "MalformedInput: A parameter's name has too many parts.",
	} {
		var in iam.CreateRoleInput
		err := decode(t, text, &in)
		var refused *Error
		if !errors.As(err, &refused) || refused.Error() != want {
			t.Errorf("Decode(%.40s) = %v, want %s", text, err, want)
		}
	}
}

func TestAppendResponse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		out  any
		want string // between the response's tags
	}{
		{"no output", nil, ``},
		{"empty list", &iam.ListRolesOutput{Roles: []types.Role{}}, `<OpResult><Roles></Roles><IsTruncated>false</IsTruncated></OpResult>`},
		{"no list", &iam.ListRolesOutput{}, `<OpResult><IsTruncated>false</IsTruncated></OpResult>`},
		{"list", &iam.ListRolesOutput{Roles: []types.Role{{RoleName: aws.String("a<b&c>\r\x01")}, {}}, Marker: aws.String("")},
			"<OpResult><Roles><member><RoleName>a&lt;b&amp;c&gt;&#xD;\ufffd</RoleName></member><member></member></Roles><IsTruncated>false</IsTruncated><Marker></Marker></OpResult>"},
		{"time", &iam.CreateRoleOutput{Role: &types.Role{CreateDate: aws.Time(time.Date(2026, 1, 2, 3, 4, 5, 999, time.FixedZone("", 3600)))}},
			`<OpResult><Role><CreateDate>2026-01-02T02:04:05Z</CreateDate></Role></OpResult>`},
		{"map", &iam.GetAccountSummaryOutput{SummaryMap: map[string]int32{"b": 2, "a": 1}},
			`<OpResult><SummaryMap><entry><key>a</key><value>1</value></entry><entry><key>b</key><value>2</value></entry></SummaryMap></OpResult>`},
	} {
		got, err := AppendResponse(nil, namespace, "Op", "RID", tt.out)
		want := `<OpResponse xmlns="` + namespace + `">` + tt.want + "<ResponseMetadata><RequestId>RID</RequestId></ResponseMetadata></OpResponse>\n"
		// The order of members is the SDK's.
		if err != nil || string(got) != want && sorted(string(got)) != sorted(want) {
			t.Errorf("%s: AppendResponse = %s, %v, want %s", tt.name, got, err, want)
		}
	}
}

func sorted(s string) string {
	b := strings.Split(s, "")
	m := map[string]int{}
	for _, c := range b {
		m[c]++
	}
	return cmp.Diff(m, map[string]int{})
}

// Whatever a client writes is read back the same, for every input; whatever we write is
// XML, for every output.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, op := range shapetest.Operations(model.Query) {
		for seed := range uint64(3) {
			roundTrip(t, op, seed)
		}
	}
}

func roundTrip(t *testing.T, op shapetest.Operation, seed uint64) {
	t.Helper()
	for _, goType := range []reflect.Type{op.In, op.Out} {
		want := reflect.New(goType)
		shapetest.Fill(rand.New(rand.NewPCG(seed, 2)), want.Elem())
		text, err := appendForm(nil, op.Name, "v", want.Interface())
		if err != nil {
			t.Fatal(err)
		}
		form, err := Parse(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if action, version, err := Named(string(text), "Action", "Version"); err != nil || action != op.Name || version != "v" {
			t.Fatalf("%s: %v: %s", op.Name, err, text)
		}
		got := reflect.New(goType)
		if err := form.Decode(got.Interface()); err != nil {
			t.Fatalf("%s: %v\n%s", goType, err, text)
		}
		if !reflect.DeepEqual(got.Interface(), want.Interface()) {
			t.Fatalf("%s, seed %d: %s", goType, seed, cmp.Diff(want.Interface(), got.Interface(), cmp.Exporter(func(reflect.Type) bool { return true })))
		}

		text, err = AppendResponse(nil, namespace, op.Name, "RID", want.Interface())
		if err != nil {
			t.Fatal(err)
		}
		decoder := xml.NewDecoder(strings.NewReader(string(text)))
		for {
			if _, err := decoder.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: %v\n%s", goType, err, text)
			}
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	operations := shapetest.Operations(model.Query)
	f.Add(uint64(1), uint(0))
	f.Fuzz(func(t *testing.T, seed uint64, n uint) {
		roundTrip(t, operations[n%uint(len(operations))], seed)
	})
}

// No text makes the reader fail but by an error of its own.
func FuzzDecode(f *testing.F) {
	f.Add("Tags.member.1.Key=a&Tags.member.2.Value=%20&MaxSessionDuration=5")
	f.Add("Tags.member..=&.=&=&Tags.member.-1=x")
	f.Fuzz(func(t *testing.T, text string) {
		var in iam.CreateRoleInput
		err := decode(t, text, &in)
		var refused *Error
		if err != nil && !errors.As(err, &refused) {
			t.Errorf("Decode(%q) = %v", text, err)
		}
	})
}

// A string comes out of an XML reader as it went in, if XML can say it.
func FuzzText(f *testing.F) {
	f.Add("a<b>&\r\n\t\x01\xff\ufffe")
	f.Fuzz(func(t *testing.T, s string) {
		text := append([]byte("<a>"), AppendText(nil, s)...)
		var got string
		if err := xml.Unmarshal(append(text, "</a>"...), &got); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		want := strings.Map(func(r rune) rune {
			if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
				return '\ufffd'
			}
			return r
		}, strings.ToValidUTF8(s, "\ufffd"))
		if strings.Count(s, "\xff") == 0 && got != want && len([]rune(s)) == len([]rune(want)) {
			t.Errorf("%q came out as %q, want %q", s, got, want)
		}
	})
}
