package ssm

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// filter keeps the parameters that have one of its values.
type filter struct {
	key    string // "tag:…" included
	option string
	values []string
}

const (
	equals     = "Equals"
	beginsWith = "BeginsWith"
	contains   = "Contains"
	oneLevel   = "OneLevel"
	recursive  = "Recursive"
)

// The filters that an operation takes, with the options of each; the first is the usual.
var (
	describeFilters = map[string][]string{
		"Name":     {equals, beginsWith, contains},
		"Path":     {oneLevel, recursive},
		"Type":     {equals, beginsWith},
		"KeyId":    {equals, beginsWith},
		"Tier":     {equals, beginsWith},
		"DataType": {equals, beginsWith},
		"tag":      {equals, beginsWith},
	}
	byPathFilters = map[string][]string{
		"Type":  {equals, beginsWith},
		"KeyId": {equals, beginsWith},
		"Label": {equals},
	}
)

// parseFilters checks filters against those that an operation takes. AWS's messages list
// options in an order of their own.
func parseFilters(given []types.ParameterStringFilter, takes map[string][]string, names ...string) ([]filter, error) {
	var filters []filter
	seen := map[string]bool{}
	for _, g := range given {
		f := filter{key: aws.ToString(g.Key), option: aws.ToString(g.Option), values: g.Values}
		kind, tag, _ := strings.Cut(f.key, ":")
		options, known := takes[kind]
		switch {
		case !known || kind == "tag" && tag == "" || kind != "tag" && tag != "":
			return nil, invalidFilterKey(f.key, names...)
		case seen[f.key]:
			return nil, duplicateFilterKey(f.key)
		case f.option == "":
			f.option = options[0]
		case !slices.Contains(options, f.option):
			valid := slices.Clone(options)
			slices.Reverse(valid)
			if kind == "Name" {
				valid = []string{beginsWith, equals, contains}
			}
			return nil, invalidFilterOption(f.option, valid...)
		}
		seen[f.key] = true
		if len(f.values) == 0 && kind != "tag" {
			return nil, missingFilterValues(f.key)
		}
		if kind == "Path" {
			for _, path := range f.values {
				if !strings.HasPrefix(path, "/") || !pathPattern.MatchString(path) {
					return nil, validation(badRequirements)
				}
			}
		}
		filters = append(filters, f)
	}
	return filters, nil
}

// keeps says whether p, of which v is the version in question, passes.
func (f *filter) keeps(p *parameter, v *version) bool {
	switch f.key {
	case "Name":
		id := strings.TrimPrefix(p.Name, "/")
		return f.any(func(value string) bool {
			if f.option == contains {
				return strings.Contains(p.Name, value) || strings.Contains("/"+id, value)
			}
			return f.matches(id, strings.TrimPrefix(value, "/"))
		})
	case "Path":
		return f.any(func(path string) bool { return below(strings.TrimPrefix(p.Name, "/"), path, f.option == recursive) })
	case "Type":
		return f.any(func(value string) bool { return f.matches(string(v.Type), value) })
	case "KeyId":
		return v.KeyID != "" && f.any(func(value string) bool { return f.matches(v.KeyID, value) })
	case "Tier":
		return f.any(func(value string) bool { return f.matches(string(v.Tier), value) })
	case "DataType":
		return f.any(func(value string) bool { return f.matches(v.DataType, value) })
	case "Label":
		return f.any(func(label string) bool { return p.Labels[label] == v.Number && v.Number > 0 })
	}
	value, tagged := p.Tags[strings.TrimPrefix(f.key, "tag:")]
	return tagged && (len(f.values) == 0 || f.any(func(want string) bool { return f.matches(value, want) }))
}

func (f *filter) any(match func(value string) bool) bool {
	return slices.ContainsFunc(f.values, match)
}

func (f *filter) matches(have, want string) bool {
	if f.option == beginsWith {
		return strings.HasPrefix(have, want)
	}
	return have == want
}

// below says whether id is one level below path, or with deep any number of them.
func below(id, path string, deep bool) bool {
	if path = strings.Trim(path, "/"); path != "" {
		var under bool
		if id, under = strings.CutPrefix(id, path+"/"); !under {
			return false
		}
	}
	return deep || !strings.Contains(id, "/")
}
