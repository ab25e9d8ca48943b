package gateway

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/aws/smithy-go"

	"github.com/malote/malote/gateway/awsjson"
	"github.com/malote/malote/gateway/model"
	"github.com/malote/malote/gateway/restxml"
	"github.com/malote/malote/gateway/shown"
)

// service is a service as the gateway serves it.
type service struct {
	name       string
	model      *model.Service
	query      bool
	codec      awsjson.Codec
	namespace  string          // of a Query service's XML
	router     *restxml.Router // of a REST service alone
	maxBody    int64           // 0: as any
	anonymous  map[string]bool // operations that need no credentials
	operations func() (map[string]*operation, error)
	unknown    outcomes // of requests for no operation
}

// operation is a method and what must be known to call it.
type operation struct {
	name     string
	logged   string // service:Name
	outcomes outcomes
	method   reflect.Value
	in       reflect.Type // the structure

	out reflect.Type // the structure

	once      sync.Once // makes what is below
	rest      *restxml.Codec
	validator *model.Validator
	hasOutput bool
	reveals   bool        // the answer holds secrets
	shows     *shown.Plan // of the input; nil for none
	tells     *shown.Plan // of the output; nil for none
	err       error
}

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
)

func newService(s Service, counts *Counts) (*service, error) {
	m, ok := model.For(s.Name)
	if !ok {
		return nil, fmt.Errorf("%s is no service of AWS's that is known here", s.Name)
	}
	svc := &service{name: s.Name, model: m, maxBody: s.MaxBody, anonymous: make(map[string]bool, len(s.Anonymous)), unknown: outcomes{service: s.Name, operation: "unknown"}}
	counts.add(&svc.unknown)
	for _, name := range s.Anonymous {
		svc.anonymous[name] = true
	}
	svc.operations = sync.OnceValues(func() (map[string]*operation, error) {
		all, err := operations(s, m)
		for _, op := range all {
			counts.add(&op.outcomes)
		}
		return all, err
	})
	switch m.Protocol {
	case model.JSON:
		svc.codec.Lower = s.Name == "ecs" || s.Name == "logs"
	case model.Query:
		svc.query = true
		svc.namespace = "https://" + s.Name + ".amazonaws.com/doc/" + m.Version + "/"
	}
	if m.Protocol == model.RestXML {
		svc.router = restxml.NewRouter(m, func(name string) bool {
			op, err := svc.operation(name)
			return err == nil && op != nil // who asks for one hears the error
		})
	}
	return svc, nil
}

// operation is nil for one that the service does not do.
func (s *service) operation(name string) (*operation, error) {
	all, err := s.operations()
	return all[name], err
}

// operations finds what a service does. All its exported methods must be operations.
func operations(s Service, m *model.Service) (map[string]*operation, error) {
	v := reflect.ValueOf(s.Impl)
	if !v.IsValid() {
		return nil, fmt.Errorf("%s has no implementation", m.Name)
	}
	done := make(map[string]*operation, v.NumMethod())
	var wrong []error
	for i := range v.NumMethod() {
		name, t := v.Type().Method(i).Name, v.Method(i).Type()
		if !isOperation(name, t) {
			wrong = append(wrong, fmt.Errorf("%s.%s is no operation: it is a %s", v.Type(), name, t))
			continue
		}
		if !m.Has(name) {
			wrong = append(wrong, fmt.Errorf("%s.%s: AWS's %s has no such operation", v.Type(), name, m.Name))
			continue
		}
		done[name] = &operation{name: name, logged: m.Name + ":" + name, method: v.Method(i), in: t.In(1).Elem(), out: t.Out(0).Elem(), outcomes: outcomes{service: m.Name, operation: name}}
	}
	for _, name := range s.Anonymous {
		if done[name] == nil {
			wrong = append(wrong, fmt.Errorf("%s.%s: there is no such operation for anybody to ask for", s.Name, name))
		}
	}
	return done, errors.Join(wrong...)
}

// isOperation reports whether a method is func(context.Context, *NameInput) (*NameOutput, error).
func isOperation(name string, t reflect.Type) bool {
	if t.NumIn() != 2 || t.NumOut() != 2 || t.IsVariadic() {
		return false
	}
	in, out := t.In(1), t.Out(0)
	return t.In(0) == contextType && t.Out(1) == errorType &&
		in.Kind() == reflect.Pointer && in.Elem().Kind() == reflect.Struct && in.Elem().Name() == name+"Input" &&
		out.Kind() == reflect.Pointer && out.Elem().Kind() == reflect.Struct && out.Elem().Name() == name+"Output"
}

// prepare reads what the API description says about op, once.
func (s *service) prepare(op *operation) error {
	op.once.Do(func() {
		failed := true
		defer func() {
			if failed { // by a panic: it must not be taken for an operation without rules
				op.err = fmt.Errorf("%s: its description could not be read", op.logged)
			}
		}()
		described, _ := s.model.Operation(op.name)
		op.hasOutput = described.Output != nil
		if described.Input != nil {
			op.validator, op.err = model.NewValidator(described.Input, op.in)
		}
		op.audited(s.name, described)
		if op.err == nil && s.router != nil {
			op.rest, op.err = restxml.NewCodec(s.model, op.name, op.in, op.out)
		}
		failed = false
	})
	return op.err
}

// audited reads what the audit has to know about op.
func (op *operation) audited(service string, described *model.Operation) {
	if op.err == nil && described.Input != nil {
		op.shows, op.err = shown.New(described.Input, op.in)
	}
	op.reveals = revealing[op.logged]
	if described.Output == nil {
		return
	}
	switch service {
	case "secretsmanager", "ssm", "kms", "iam", "sts":
		op.reveals = op.reveals || described.Output.Hides()
	}
	// As on AWS: what reads is recorded without its answer, but that which gives credentials.
	if op.err == nil && (!reads(op.name) || service == "sts" && strings.HasPrefix(op.name, "Assume")) {
		op.tells, op.err = shown.New(described.Output, op.out)
	}
}

// revealing are operations of the other services whose answers hold secrets: bodies of
// objects (environment files are some), what programs logged, tokens of sessions. What
// ECS and S3 call sensitive, overrides and names of keys, was no secret of malote's.
var revealing = map[string]bool{
	"s3:GetObject": true, "s3:SelectObjectContent": true, "logs:GetLogEvents": true, "logs:FilterLogEvents": true, "logs:StartLiveTail": true,
	"ecs:ExecuteCommand": true,
}

func reads(name string) bool {
	for _, prefix := range [...]string{"Get", "List", "Describe", "BatchGet", "Head", "Lookup", "Simulate", "Validate", "Filter", "Decrypt", "Generate", "Verify", "Sign", "Encrypt"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// validate checks an input and words what is wrong with it as the service does.
func (s *service) validate(op *operation, in reflect.Value) error {
	if op.validator == nil {
		return nil
	}
	violations := op.validator.Validate(in)
	if len(violations) == 0 {
		return nil
	}
	return s.invalid(op, violations)
}

// invalid is the error for violations, nil when all of them are the service's own to
// word.
func (s *service) invalid(op *operation, violations []model.Violation) error {
	kept := violations[:0:0]
	for _, v := range violations {
		own, ok := ownWords[s.name+"."+op.name+"."+v.Path]
		if !ok {
			kept = append(kept, v)
			continue
		}
		if v.Missing && own.code != "" {
			return &smithy.GenericAPIError{Code: own.code, Message: own.text, Fault: smithy.FaultClient}
		}
		if v.Missing {
			kept = append(kept, v)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	if s.router != nil {
		return &violation{restViolation(kept), kept}
	}
	code := "ValidationException"
	switch {
	case s.query:
		code = "ValidationError"
	case s.name == "ecs", s.name == "logs":
		code = "InvalidParameterException"
		if described, _ := s.model.Operation(op.name); !contains(described.Errors, code) {
			code = "ClientException"
		}
	}
	return &violation{&smithy.GenericAPIError{Code: code, Message: model.Message(kept), Fault: smithy.FaultClient}, kept}
}

// violation is the error for an input that violates constraints. Its message has values,
// which are none of the audit's business.
type violation struct {
	error
	found []model.Violation
}

func (v *violation) Unwrap() error { return v.error }

func (v *violation) withoutValues() string {
	paths := make([]string, len(v.found))
	for i := range v.found {
		paths[i] = "'" + v.found[i].Path + "'"
	}
	return fmt.Sprintf("%d validation errors detected, at %s", len(paths), strings.Join(paths, ", "))
}

func contains(list []string, s string) bool {
	for _, item := range list {
		if item == s {
			return true
		}
	}
	return false
}

// ownWords are members about which a service speaks for itself rather than in the words
// of AWS's framework: with the code and text given when the member is missing, and by its
// own check otherwise.
var ownWords = map[string]struct{ code, text string }{
	// InvalidRequestException, and what must be provided: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
	"secretsmanager.CreateSecret.secretString":        {},
	"secretsmanager.CreateSecret.secretBinary":        {},
	"secretsmanager.PutSecretValue.secretString":      {},
	"secretsmanager.PutSecretValue.secretBinary":      {},
	"secretsmanager.UpdateSecret.secretString":        {},
	"secretsmanager.UpdateSecret.secretBinary":        {},
	"secretsmanager.GetRandomPassword.passwordLength": {},

	"ecs.RegisterTaskDefinition.family":               {"ClientException", "Family can not be blank."},
	"ecs.RegisterTaskDefinition.containerDefinitions": {"ClientException", "Container list cannot be empty."},
}
