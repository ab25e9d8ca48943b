package s3

import (
	"net/http"
	"strings"
	"time"
)

// writeCondition is what a request demands of what it replaces.
type writeCondition struct{ match, noneMatch *string }

// tell adds the keys by which policies ask about it.
func (c *writeCondition) tell(conditions map[string][]string) {
	if c.match != nil {
		conditions["s3:if-match"] = []string{*c.match}
	}
	if c.noneMatch != nil {
		conditions["s3:if-none-match"] = []string{*c.noneMatch}
	}
}

// check refuses what S3 does not take.
//
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
func (c *writeCondition) check() error {
	refused := func(header, message string) error {
		return (&apiError{code: "NotImplemented", message: "A header you provided implies functionality that is not implemented", status: http.StatusNotImplemented}).
			with("Header", header).with("additionalMessage", message)
	}
	switch {
	case c.match != nil && c.noneMatch != nil:
		return refused("If-Match,If-None-Match", "Multiple conditional request headers present in the request")
	case c.noneMatch != nil && *c.noneMatch != "*":
		return refused("If-None-Match", "We don't accept the provided value of If-None-Match header for this API")
	case c.match != nil && *c.match == "*":
		return refused("If-Match", "We don't accept the provided value of If-Match header for this API")
	}
	return nil
}

// holds asks it of the newest version of a key, nil for none.
func (c *writeCondition) holds(key string, newest *object) error {
	there := newest != nil && !newest.Marker
	switch {
	case c.noneMatch != nil && there:
		return preconditionFailed("If-None-Match")
	case c.match != nil && !there:
		return noSuchKey(key)
	case c.match != nil && strings.Trim(*c.match, `"`) != newest.ETag:
		return preconditionFailed("If-Match")
	}
	return nil
}

// readCondition is what a request demands of what it reads.
type readCondition struct {
	match, noneMatch     *string
	modified, unmodified *time.Time
	prefix               string // of the headers' names: x-amz-copy-source-
	copying              bool   // a condition that fails is 412, never 304
}

func (c *readCondition) holds(o *object) error {
	at := o.Modified.Truncate(time.Second)
	switch {
	case c.match != nil && !matches(*c.match, o.ETag):
		return preconditionFailed(c.prefix + "If-Match")
	case c.match == nil && c.unmodified != nil && at.After(*c.unmodified):
		return preconditionFailed(c.prefix + "If-Unmodified-Since")
	case c.noneMatch != nil && matches(*c.noneMatch, o.ETag):
		return c.notModified(o, "If-None-Match")
	case c.noneMatch == nil && c.modified != nil && !at.After(*c.modified):
		return c.notModified(o, "If-Modified-Since")
	}
	return nil
}

func (c *readCondition) notModified(o *object, condition string) error {
	if c.copying {
		return preconditionFailed(c.prefix + condition)
	}
	return &apiError{code: "NotModified", message: "Not Modified", status: http.StatusNotModified, header: http.Header{
		"Etag": {*quoted(o.ETag)}, "Last-Modified": {o.Modified.UTC().Format(http.TimeFormat)},
	}}
}

func matches(list, etag string) bool {
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.Trim(strings.TrimSpace(item), `"`); item == "*" || item == etag {
			return true
		}
	}
	return false
}
