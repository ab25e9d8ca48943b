// Gen writes the tables of package model from the descriptions of the services' APIs:
//
//	go run ./gateway/model/gen FOLDER [OUT]
//
// FOLDER holds one JSON file for each service with its operations, their members and
// constraints. A table is a text file: a line about the service, one for each
// operation, one of all errors, and one for each distinct shape, which is known by its
// number.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return errors.New("usage: gen FOLDER [OUT]")
	}
	out := filepath.Join("gateway", "model", "tables")
	if len(args) == 2 {
		out = args[1]
	}
	files, err := filepath.Glob(filepath.Join(args[0], "*.json"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no models in %s", args[0])
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		table, name, err := generate(data)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := os.WriteFile(filepath.Join(out, name+".txt"), table, 0o644); err != nil {
			return err
		}
	}
	return nil
}

type service struct {
	Service      string
	APIVersion   string
	TargetPrefix string
	Operations   map[string]operation
}

type operation struct {
	Errors        map[string]apiError
	Input, Output *shape
	HTTP          json.RawMessage
}

type apiError struct {
	Code           string
	HTTPStatusCode int
	SenderFault    bool
}

// shape is a shape as the description has it: written out where it is used, or, as Ref,
// the name of a structure that is written out elsewhere.
type shape struct {
	Type, Shape, Ref   string
	Members            map[string]*shape
	Required           []string
	Member, Key, Value *shape
	Min, Max           *float64
	Pattern            string
	Enum               []string
	Sensitive          bool
	IdempotencyToken   bool
	Flattened          bool
	Binding            json.RawMessage
	Payload            string
}

type generator struct {
	named   map[string]*shape
	numbers map[string]int
	lines   [][]byte
}

func generate(data []byte) (table []byte, name string, err error) {
	var s service
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, "", err
	}
	g := generator{named: map[string]*shape{}, numbers: map[string]int{}}
	names := slices.Sorted(maps.Keys(s.Operations))
	for _, name := range names {
		g.name(s.Operations[name].Input)
		g.name(s.Operations[name].Output)
	}

	codes := map[string][2]any{}
	var operations bytes.Buffer
	for _, name := range names {
		op := s.Operations[name]
		line := map[string]any{}
		for side, shape := range map[string]*shape{"in": op.Input, "out": op.Output} {
			if shape == nil {
				continue
			}
			if line[side], err = g.number(shape, 0); err != nil {
				return nil, "", fmt.Errorf("%s: %w", name, err)
			}
		}
		if len(op.Errors) > 0 {
			line["errors"] = slices.Sorted(maps.Keys(op.Errors))
		}
		if op.HTTP != nil {
			line["http"] = op.HTTP
		}
		for name, e := range op.Errors {
			code := e.Code
			if code == "" {
				code = name
			}
			codes[name] = [2]any{code, e.HTTPStatusCode}
		}
		if err := write(&operations, "op "+name+" ", line); err != nil {
			return nil, "", err
		}
	}

	var b bytes.Buffer
	protocol := "json"
	switch s.Service {
	case "iam", "sts":
		protocol = "query"
	case "s3":
		protocol = "rest-xml"
	}
	fmt.Fprintf(&b, "service %s %s %s %s\n", s.Service, protocol, s.APIVersion, s.TargetPrefix)
	b.Write(operations.Bytes())
	if err := write(&b, "errors ", codes); err != nil {
		return nil, "", err
	}
	for _, line := range g.lines {
		b.Write(line)
		b.WriteByte('\n')
	}
	return b.Bytes(), s.Service, nil
}

// name notes the structures that are written out, for those that refer to them.
func (g *generator) name(s *shape) {
	if s == nil {
		return
	}
	if s.Shape != "" && s.Ref == "" && g.named[s.Shape] == nil {
		g.named[s.Shape] = s
	}
	for _, name := range slices.Sorted(maps.Keys(s.Members)) {
		g.name(s.Members[name])
	}
	g.name(s.Member)
	g.name(s.Key)
	g.name(s.Value)
}

// number gives a shape, and first all within it, a line of its own.
func (g *generator) number(s *shape, depth int) (int, error) {
	if depth > 64 {
		return 0, fmt.Errorf("%s contains itself: tables cannot say so yet", s.Shape)
	}
	if s.Ref != "" {
		named, ok := g.named[s.Ref]
		if !ok {
			return 0, fmt.Errorf("%s is written out nowhere", s.Ref)
		}
		// What is said about the member is said beside the reference.
		whole := *named
		whole.Sensitive = whole.Sensitive || s.Sensitive
		whole.Binding, whole.Payload = s.Binding, named.Payload
		whole.Flattened = s.Flattened
		return g.number(&whole, depth+1)
	}
	line := map[string]any{"type": s.Type}
	if s.Shape != "" {
		line["shape"] = s.Shape
	}
	if s.Type == "structure" {
		members := map[string]int{}
		for _, name := range slices.Sorted(maps.Keys(s.Members)) {
			n, err := g.number(s.Members[name], depth+1)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", name, err)
			}
			members[name] = n
		}
		line["members"] = members
	}
	for key, within := range map[string]*shape{"member": s.Member, "key": s.Key, "value": s.Value} {
		if within == nil {
			continue
		}
		n, err := g.number(within, depth+1)
		if err != nil {
			return 0, err
		}
		line[key] = n
	}
	for key, value := range map[string]any{"required": s.Required, "enum": s.Enum} {
		if list := value.([]string); len(list) > 0 {
			line[key] = list
		}
	}
	for key, limit := range map[string]*float64{"min": s.Min, "max": s.Max} {
		if limit != nil {
			line[key] = *limit
		}
	}
	for key, text := range map[string]string{"pattern": s.Pattern, "payload": s.Payload} {
		if text != "" {
			line[key] = text
		}
	}
	for key, yes := range map[string]bool{"sensitive": s.Sensitive, "token": s.IdempotencyToken, "flattened": s.Flattened} {
		if yes {
			line[key] = true
		}
	}
	if s.Binding != nil {
		line["binding"] = s.Binding
	}
	text, err := encode(line)
	if err != nil {
		return 0, err
	}
	if n, ok := g.numbers[string(text)]; ok {
		return n, nil
	}
	g.numbers[string(text)] = len(g.lines)
	g.lines = append(g.lines, text)
	return len(g.lines) - 1, nil
}

func write(b *bytes.Buffer, prefix string, line any) error {
	text, err := encode(line)
	if err != nil {
		return err
	}
	b.WriteString(prefix)
	b.Write(text)
	b.WriteByte('\n')
	return nil
}

// encode is json.Marshal without escapes for HTML: patterns stay readable.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
