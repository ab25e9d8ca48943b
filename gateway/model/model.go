// Package model is what AWS's API descriptions say about the services' operations:
// members, constraints, errors, what is sensitive.
//
// It promises: a table is read when something of its service is first asked for, and a shape
// when it is first needed, so that a program which serves one operation pays for one.
// Everything returned is shared and must not be changed.
//
// The tables are made by gen. Whether malote does an operation, they do not know.
package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Protocol is how a service is spoken to.
type Protocol string

const (
	JSON    Protocol = "json"     // AWS JSON 1.1
	Query   Protocol = "query"    // AWS Query, answered in XML
	RestXML Protocol = "rest-xml" // S3
)

// Service is the description of one service.
type Service struct {
	Name     string
	Protocol Protocol
	Version  string // 2014-11-01
	Target   string // before the dot in X-Amz-Target; "" but for JSON

	rest string // of the table: operations, errors and shapes

	mu         sync.Mutex          // guards what is decoded
	operations map[string]string   // by name, undecoded; nil until asked for, like the next two
	errors     map[string]APIError // by code
	lines      []string            // the shapes, undecoded
	ops        map[string]*Operation
	shapes     map[int]*Shape
}

// APIError is an error that the description knows.
type APIError struct {
	Code string // on the wire
	// Status of HTTP; 0 where the protocol's usual one is meant.
	Status int
}

// Operation is one operation of a service.
type Operation struct {
	Name   string
	Input  *Shape // nil for none
	Output *Shape // nil for none: the answer has no result
	Errors []string
	HTTP   HTTP // of REST protocols
}

// HTTP is where an operation of a REST protocol is found.
type HTTP struct {
	Method string
	URI    string
	Status int
}

// Shape is a value's type and its constraints.
type Shape struct {
	Type      string // string integer long double boolean timestamp blob list map structure
	Name      string // of a structure
	Members   map[string]*Shape
	Required  []string
	Elem      *Shape // of a list; a map's value
	Key       *Shape // of a map
	Min, Max  *float64
	Pattern   string
	Enum      []string
	Sensitive bool
	Token     bool // an idempotency token that clients fill in
	Flattened bool
	Payload   string  // the member that is the body, in REST protocols
	Binding   Binding // outside of the body, in REST protocols
}

// Binding is where a member of a REST protocol travels.
type Binding struct {
	Location        string // uri, querystring, header, headers (all that begin with Name); "" within the body
	Name            string // "": as the member
	TimestampFormat string // iso8601 or rfc822; "": the location's usual one
	XMLAttribute    bool
}

var (
	mu       sync.Mutex // guards services
	services = map[string]*Service{}
)

// For returns the description of a service, by its signing name.
func For(name string) (*Service, bool) {
	mu.Lock()
	defer mu.Unlock()
	if s, ok := services[name]; ok {
		return s, true
	}
	text, ok := tables[name]
	if !ok {
		return nil, false
	}
	s, err := parse(text)
	if err != nil {
		panic("model: " + name + ": " + err.Error()) // the tables are part of the program
	}
	services[name] = s
	return s, true
}

// Names lists the services that are described.
func Names() []string { return slices.Sorted(maps.Keys(tables)) }

// parse reads the head of a table. The rest waits until it is needed.
func parse(text string) (*Service, error) {
	head, rest, _ := strings.Cut(text, "\n")
	fields := strings.Split(head, " ")
	if len(fields) != 5 || fields[0] != "service" {
		return nil, fmt.Errorf("cannot read the line %q", head)
	}
	return &Service{
		Name: fields[1], Protocol: Protocol(fields[2]), Version: fields[3], Target: fields[4],
		rest: rest, ops: map[string]*Operation{}, shapes: map[int]*Shape{},
	}, nil
}

// decode reads the rest of the table. Its caller holds s.mu.
func (s *Service) decode() {
	if s.operations != nil {
		return
	}
	s.operations = map[string]string{}
	head, shapes, _ := strings.Cut(s.rest, "\n")
	for {
		operation, ok := strings.CutPrefix(head, "op ")
		if !ok {
			break
		}
		name, described, _ := strings.Cut(operation, " ")
		s.operations[name] = described
		head, shapes, _ = strings.Cut(shapes, "\n")
	}
	text, _ := strings.CutPrefix(head, "errors ")
	var raw map[string][2]any
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		panic(fmt.Sprintf("model: errors of %s: %v", s.Name, err))
	}
	s.errors = make(map[string]APIError, len(raw))
	for _, e := range raw {
		code, _ := e[0].(string)
		status, _ := e[1].(float64)
		s.errors[code] = APIError{Code: code, Status: int(status)}
	}
	s.lines = strings.Split(shapes, "\n")
}

// Operations lists the names of all operations, in order.
func (s *Service) Operations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decode()
	return slices.Sorted(maps.Keys(s.operations))
}

// Has reports whether the service has an operation of that name on AWS.
func (s *Service) Has(operation string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decode()
	_, ok := s.operations[operation]
	return ok
}

// Error returns what the description says about an error code.
func (s *Service) Error(code string) (APIError, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decode()
	e, ok := s.errors[code]
	return e, ok
}

// Operation returns the description of an operation.
func (s *Service) Operation(name string) (*Operation, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decode()
	if op, ok := s.ops[name]; ok {
		return op, true
	}
	line, ok := s.operations[name]
	if !ok {
		return nil, false
	}
	var raw struct {
		In, Out *int
		Errors  []string
		HTTP    HTTP
	}
	if err := json.Unmarshal([]byte(line), &raw); err != nil {
		panic(fmt.Sprintf("model: %s.%s: %v", s.Name, name, err))
	}
	op := &Operation{Name: name, Errors: raw.Errors, HTTP: raw.HTTP, Input: s.shape(raw.In), Output: s.shape(raw.Out)}
	s.ops[name] = op
	return op, true
}

// shape decodes the shape on a line, and all within it. Its caller holds s.mu.
func (s *Service) shape(line *int) *Shape {
	if line == nil {
		return nil
	}
	if shape, ok := s.shapes[*line]; ok {
		return shape
	}
	var raw struct {
		Type, Shape, Pattern, Payload string
		Members                       map[string]int
		Required, Enum                []string
		Member, Key, Value            *int
		Min, Max                      *float64
		Sensitive, Token, Flattened   bool
		Binding                       Binding
	}
	if err := json.Unmarshal([]byte(s.lines[*line]), &raw); err != nil {
		panic(fmt.Sprintf("model: %s, shape %d: %v", s.Name, *line, err))
	}
	shape := &Shape{
		Type: raw.Type, Name: raw.Shape, Pattern: raw.Pattern, Payload: raw.Payload, Required: raw.Required, Enum: raw.Enum,
		Min: raw.Min, Max: raw.Max, Sensitive: raw.Sensitive, Token: raw.Token, Flattened: raw.Flattened, Binding: raw.Binding,
		Key: s.shape(raw.Key),
	}
	if raw.Member != nil {
		shape.Elem = s.shape(raw.Member)
	} else {
		shape.Elem = s.shape(raw.Value)
	}
	if raw.Members != nil {
		shape.Members = make(map[string]*Shape, len(raw.Members))
		for name, n := range raw.Members {
			shape.Members[name] = s.shape(&n)
		}
	}
	s.shapes[*line] = shape
	return shape
}

// Sensitive lists the members of an operation's input and output that must not be shown,
// as paths ("SecretString", "SecretValues.member.SecretBinary"), in order.
func Sensitive(service, operation string) []string {
	s, ok := For(service)
	if !ok {
		return nil
	}
	op, ok := s.Operation(operation)
	if !ok {
		return nil
	}
	var paths []string
	for _, side := range []*Shape{op.Input, op.Output} {
		if side != nil {
			side.sensitive("", &paths)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

func (s *Shape) sensitive(path string, found *[]string) {
	if s.Sensitive {
		*found = append(*found, path)
		return
	}
	for name, member := range s.Members {
		member.sensitive(strings.TrimPrefix(path+"."+name, "."), found)
	}
	if s.Elem != nil {
		s.Elem.sensitive(path+".member", found)
	}
}

// Hides reports whether a value of this shape has anything sensitive in it.
func (s *Shape) Hides() bool {
	var paths []string
	s.sensitive("", &paths)
	return len(paths) > 0
}
