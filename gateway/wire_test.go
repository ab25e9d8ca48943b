package gateway_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/malote/malote/gateway/awsjson"
	"github.com/malote/malote/gateway/awsquery"
	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/gateway/shape/shapetest"
)

// answering is a transport that keeps what is sent and answers what it is told to.
type answering struct {
	sent        []byte
	contentType string
	answer      []byte
}

func (a *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	var err error
	if a.sent, err = io.ReadAll(r.Body); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {a.contentType}}, Body: io.NopCloser(bytes.NewReader(a.answer)), ContentLength: int64(len(a.answer)), Request: r}, nil
}

// For every operation: what Amazon's client writes we read, and what we write it reads,
// to the last member. This stands in for schemas that not all of its clients carry.
func TestAmazonsCodecs(t *testing.T) {
	t.Parallel()
	for _, protocol := range []model.Protocol{model.JSON, model.Query} {
		for _, op := range shapetest.Operations(protocol) {
			if op.Name == "StartLiveTail" {
				continue // a stream of events
			}
			if op.Service == "cloudtrail" && op.Name != "LookupEvents" {
				continue // the table has the others' names alone
			}
			t.Run(op.Service+"/"+op.Name, func(t *testing.T) {
				for seed := range uint64(2) {
					exchangeWithClient(t, protocol, op, seed)
				}
			})
		}
	}
}

func exchangeWithClient(t *testing.T, protocol model.Protocol, op shapetest.Operation, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 3))
	in, out := reflect.New(op.In), reflect.New(op.Out)
	shapetest.FillAll(random, in.Elem())
	shapetest.Fill(random, out.Elem())

	s, _ := model.For(op.Service)
	described, _ := s.Operation(op.Name)
	codec := awsjson.Codec{Lower: op.Service == "ecs" || op.Service == "logs"}
	transport := &answering{contentType: awsjson.ContentType}
	var err error
	switch {
	case protocol == model.Query:
		var result any
		if described.Output != nil {
			result = out.Interface()
		}
		transport.contentType = awsquery.ContentType
		transport.answer, err = awsquery.AppendResponse(nil, "urn:test", op.Name, "id", result)
	case described.Output != nil:
		transport.answer, err = codec.Append(nil, out.Interface())
	}
	if err != nil {
		t.Fatal(err)
	}

	client := op.Client(aws.Config{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("AKIA", "s", ""), BaseEndpoint: aws.String("https://malote.internal"),
		HTTPClient: &http.Client{Transport: transport},
	})
	results := client.MethodByName(op.Name).Call([]reflect.Value{reflect.ValueOf(context.Context(t.Context())), in})
	if err, _ := results[1].Interface().(error); err != nil {
		t.Fatalf("%v\n%s", err, transport.answer)
	}

	same := cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(), cmp.Exporter(func(reflect.Type) bool { return true }),
		cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".ResultMetadata" }, cmp.Ignore()),
		cmp.Comparer(func(x, y time.Time) bool { return x.Equal(y) })}

	got := reflect.New(op.In)
	if protocol == model.Query {
		form, err := awsquery.Parse(string(transport.sent))
		if err != nil {
			t.Fatal(err)
		}
		if action, version, err := awsquery.Named(string(transport.sent), "Action", "Version"); err != nil || action != op.Name || version != s.Version {
			t.Errorf("%v: %s", err, transport.sent)
		}
		err = form.Decode(got.Interface())
		if err != nil {
			t.Fatalf("%v\n%s", err, transport.sent)
		}
	} else if err := codec.Decode(transport.sent, got.Interface()); err != nil {
		t.Fatalf("%v\n%s", err, transport.sent)
	}
	if diff := cmp.Diff(in.Interface(), got.Interface(), same); diff != "" {
		t.Errorf("input, as the client wrote and we read it:\n%s\n%s", diff, shorten(transport.sent))
	}
	if diff := cmp.Diff(out.Interface(), results[0].Interface(), same); diff != "" {
		t.Errorf("output, as we wrote and the client read it:\n%s\n%s", diff, shorten(transport.answer))
	}
}

func shorten(b []byte) string {
	if len(b) > 2000 {
		return strings.ToValidUTF8(string(b[:2000]), "") + "…"
	}
	return string(b)
}
