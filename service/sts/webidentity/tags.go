package webidentity

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/malote/malote/internal/lazyregexp"
)

// Tag is a session tag that the issuer gives.
type Tag struct{ Key, Value string }

// What an issuer may claim of a session. Tags come as one object or as a claim for each.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_adding-assume-role-idp
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_monitor.html
const (
	awsClaim        = "https://aws.amazon.com/"
	tagsClaim       = awsClaim + "tags"
	tagClaim        = tagsClaim + "/principal_tags/"
	transitiveClaim = tagsClaim + "/transitive_tag_keys"
	identityClaim   = awsClaim + "source_identity"
)

const (
	maxTags     = 50
	maxTagKey   = 128 // characters
	maxTagValue = 256
)

var (
	tagText        = lazyregexp.New(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`) // counted by itself: each repetition would be large
	sourceIdentity = lazyregexp.New(`^[\w+=,.@-]{2,64}$`)
)

func rejected(format string, args ...any) *Error {
	return &Error{Reason: Rejected, Text: fmt.Sprintf(format, args...)}
}

// tags reads what the token claims of its session into id.
func (t *Token) tags(id *Identity) error {
	var transitive []string
	add := func(key string, value any) error {
		values, ok := value.([]any)
		if !ok {
			values = []any{value}
		}
		text, isText := "", false
		if len(values) == 1 {
			text, isText = values[0].(string)
		}
		switch {
		case !isText:
			return rejected("The claim %s must have one string for each tag.", tagsClaim)
		case !utf8.ValidString(key) || key == "" || utf8.RuneCountInString(key) > maxTagKey || utf8.RuneCountInString(text) > maxTagValue || !tagText.MatchString(key) || !tagText.MatchString(text):
			return rejected("The claim %s has a tag whose key or value is too long or has characters that tags cannot have.", tagsClaim)
		case hasPrefixFold(key, "aws:"):
			return rejected("aws: prefixed tag key names are not allowed for external use.")
		case slices.ContainsFunc(id.Tags, func(o Tag) bool { return strings.EqualFold(o.Key, key) }):
			return rejected("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		case len(id.Tags) == maxTags:
			return rejected("The claim %s has more than %d tags.", tagsClaim, maxTags)
		}
		id.Tags = append(id.Tags, Tag{key, text})
		return nil
	}
	list := func(value any) error {
		keys, ok := value.([]any)
		for _, item := range keys {
			key, isText := item.(string)
			ok = ok && isText
			transitive = append(transitive, key)
		}
		if !ok || len(keys) > maxTags {
			return rejected("transitive_tag_keys of the claim %s must be a list of up to %d keys.", tagsClaim, maxTags)
		}
		return nil
	}
	if value, there := t.claims[tagsClaim]; there {
		object, ok := value.(map[string]any)
		if !ok {
			return rejected("The claim %s must be an object with principal_tags.", tagsClaim)
		}
		for member, value := range object {
			switch member {
			case "principal_tags":
				tags, ok := value.(map[string]any)
				if !ok {
					return rejected("principal_tags of the claim %s must be an object.", tagsClaim)
				}
				for key, value := range tags {
					if err := add(key, value); err != nil {
						return err
					}
				}
			case "transitive_tag_keys":
				if err := list(value); err != nil {
					return err
				}
			default:
				return rejected("The claim %s has an unknown member.", tagsClaim)
			}
		}
	}
	for claim, value := range t.claims {
		var err error
		if key, flat := strings.CutPrefix(claim, tagClaim); flat {
			err = add(key, value)
		} else if claim == transitiveClaim {
			err = list(value)
		}
		if err != nil {
			return err
		}
	}
	slices.SortFunc(id.Tags, func(a, b Tag) int { return strings.Compare(a.Key, b.Key) })
	for _, key := range transitive {
		if !slices.ContainsFunc(id.Tags, func(o Tag) bool { return strings.EqualFold(o.Key, key) }) {
			return rejected("The specified transitive tag key must be included in the requested tags.")
		}
		if !slices.ContainsFunc(id.TransitiveTags, func(o string) bool { return strings.EqualFold(o, key) }) {
			id.TransitiveTags = append(id.TransitiveTags, key)
		}
	}
	if value, there := t.claims[identityClaim]; there {
		text, ok := value.(string)
		if !ok || !sourceIdentity.MatchString(text) || hasPrefixFold(text, "aws:") {
			return rejected("The claim %s must be a string of 2 to 64 characters of [\\w+=,.@-].", identityClaim)
		}
		id.SourceIdentity = text
	}
	return nil
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
