package secretsmanager

import (
	"slices"
	"strings"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// filter is one filter of a request: it passes when one of its values does.
type filter struct {
	key    types.FilterNameStringType
	values []filterValue
}

type filterValue struct {
	negated bool
	text    string
	words   []string // of text; for the keys that search words
}

func compileFilters(in []types.Filter) ([]filter, error) {
	var filters []filter
	for _, f := range in {
		switch {
		case f.Key == "":
			return nil, invalidParameter("Invalid filter key")
		case len(f.Values) == 0:
			return nil, invalidParameter("Invalid filter values for key: %s", f.Key)
		}
		c := filter{key: f.Key}
		for _, text := range f.Values {
			rest, negated := strings.CutPrefix(text, "!")
			c.values = append(c.values, filterValue{negated, rest, words(rest)})
		}
		filters = append(filters, c)
	}
	return filters, nil
}

func (f *filter) matches(x *secret) bool {
	return slices.ContainsFunc(f.values, func(v filterValue) bool { return f.has(x, v) != v.negated })
}

func (f *filter) has(x *secret, v filterValue) bool {
	switch f.key {
	case types.FilterNameStringTypeName:
		return strings.HasPrefix(x.Name, v.text)
	case types.FilterNameStringTypeTagKey:
		return slices.ContainsFunc(x.Tags, func(t tag) bool { return strings.HasPrefix(t.Key, v.text) })
	case types.FilterNameStringTypeTagValue:
		return slices.ContainsFunc(x.Tags, func(t tag) bool { return strings.HasPrefix(t.Value, v.text) })
	case types.FilterNameStringTypePrimaryRegion:
		region := x.primaryRegion()
		return region != "" && strings.HasPrefix(region, v.text)
	case types.FilterNameStringTypeDescription:
		return hasWords(v.words, x.Description)
	case types.FilterNameStringTypeAll:
		texts := []string{x.Name, x.Description}
		for _, t := range x.Tags {
			texts = append(texts, t.Key, t.Value)
		}
		return hasWords(v.words, texts...)
	}
	// No secret has an owning service.
	return false
}

// hasWords reports whether each of searched begins some word of texts.
func hasWords(searched []string, texts ...string) bool {
	if len(searched) == 0 {
		return false
	}
	var all []string
	for _, text := range texts {
		all = append(all, words(text)...)
	}
	for _, s := range searched {
		if !slices.ContainsFunc(all, func(w string) bool { return strings.HasPrefix(w, s) }) {
			return false
		}
	}
	return true
}

const separators = "/-_+=.@"

// words splits a text as AWS was seen to: at spaces; then at separators and at changes of
// case, unless two kinds of separator are mixed. Words are in lower case.
func words(text string) []string {
	var all []string
	for _, chunk := range strings.Fields(text) {
		kinds := 0
		for _, separator := range separators {
			if strings.ContainsRune(chunk, separator) {
				kinds++
			}
		}
		if kinds > 1 {
			all = append(all, strings.ToLower(chunk))
			continue
		}
		for _, part := range strings.FieldsFunc(chunk, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
			all = append(all, splitCase(part)...)
		}
	}
	return all
}

// splitCase splits before each capital that follows something else, and before the last
// of a run of capitals when a small letter follows: DescTwo is desc two, COMPANYthings is
// compan ythings.
func splitCase(text string) []string {
	var parts []string
	runes := []rune(text)
	start := 0
	for i := 1; i < len(runes); i++ {
		if !unicode.IsUpper(runes[i]) {
			continue
		}
		before, after := runes[i-1], i+1 < len(runes) && unicode.IsLower(runes[i+1])
		if !unicode.IsUpper(before) || after {
			parts = append(parts, strings.ToLower(string(runes[start:i])))
			start = i
		}
	}
	return append(parts, strings.ToLower(string(runes[start:])))
}
