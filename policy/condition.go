package policy

import (
	"bytes"
	"encoding/base64"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// condition is one key under one operator.
type condition struct {
	operator   string // as written: "ForAnyValue:StringLikeIfExists"
	key        string // lower case
	name       string // the key as written
	test       test
	negated    bool
	ifExists   bool
	quantifier quantifier
	values     []operand
}

type quantifier byte

const (
	single quantifier = iota
	forAllValues
	forAnyValue
)

// test compares one value of the request with one of the policy. Negation is outside.
type test byte

const (
	testEquals test = iota + 1
	testEqualsFold
	testLike
	testNumberEQ
	testNumberLT
	testNumberLE
	testNumberGT
	testNumberGE
	testTimeEQ
	testTimeLT
	testTimeLE
	testTimeGT
	testTimeGE
	testBool
	testBinary
	testIP
	testARN
	testNull
)

type operator struct {
	test    test
	negated bool
}

func lookupOperator(name string) (operator, bool) {
	var o operator
	switch name {
	case "StringEquals":
		o.test = testEquals
	case "StringNotEquals":
		o = operator{testEquals, true}
	case "StringEqualsIgnoreCase":
		o.test = testEqualsFold
	case "StringNotEqualsIgnoreCase":
		o = operator{testEqualsFold, true}
	case "StringLike":
		o.test = testLike
	case "StringNotLike":
		o = operator{testLike, true}
	case "NumericEquals":
		o.test = testNumberEQ
	case "NumericNotEquals":
		o = operator{testNumberEQ, true}
	case "NumericLessThan":
		o.test = testNumberLT
	case "NumericLessThanEquals":
		o.test = testNumberLE
	case "NumericGreaterThan":
		o.test = testNumberGT
	case "NumericGreaterThanEquals":
		o.test = testNumberGE
	case "DateEquals":
		o.test = testTimeEQ
	case "DateNotEquals":
		o = operator{testTimeEQ, true}
	case "DateLessThan":
		o.test = testTimeLT
	case "DateLessThanEquals":
		o.test = testTimeLE
	case "DateGreaterThan":
		o.test = testTimeGT
	case "DateGreaterThanEquals":
		o.test = testTimeGE
	case "Bool":
		o.test = testBool
	case "BinaryEquals":
		o.test = testBinary
	case "IpAddress":
		o.test = testIP
	case "NotIpAddress":
		o = operator{testIP, true}
	case "ArnEquals", "ArnLike":
		o.test = testARN
	case "ArnNotEquals", "ArnNotLike":
		o = operator{testARN, true}
	case "Null":
		o.test = testNull
	default:
		return o, false
	}
	return o, true
}

// compileOperator splits "ForAnyValue:StringLikeIfExists".
func compileOperator(name string) (c condition, ok bool) {
	c.operator = name
	if rest, found := strings.CutPrefix(name, "ForAllValues:"); found {
		c.quantifier, name = forAllValues, rest
	} else if rest, found := strings.CutPrefix(name, "ForAnyValue:"); found {
		c.quantifier, name = forAnyValue, rest
	}
	name, c.ifExists = strings.CutSuffix(name, "IfExists")
	o, ok := lookupOperator(name)
	c.test, c.negated = o.test, o.negated
	if c.test == testNull && (c.ifExists || c.quantifier != single) {
		return c, false
	}
	return c, ok
}

// operand is a value of the policy, ready for its test.
type operand struct {
	written string
	pattern pattern  // strings; ARNs with variables
	arn     *arnText // ARNs without
	number  float64
	time    time.Time
	prefix  netip.Prefix
	binary  []byte
	yes     bool
}

type arnText [6]pattern

// compileOperand prepares text and says what is wrong with it, or "".
func compileOperand(t test, text string, variables bool) (v operand, wrong string) {
	switch t {
	case testEquals, testEqualsFold:
		v.pattern, wrong = compilePattern(text, false, variables)
	case testLike:
		v.pattern, wrong = compilePattern(text, true, variables)
	case testARN:
		if v.pattern, wrong = compilePattern(text, true, variables); wrong != "" || v.pattern.shape == shapeTemplate {
			return v, wrong
		}
		if text == "*" {
			return v, ""
		}
		marked, _ := v.pattern.resolve(nil)
		parts, ok := splitARN(marked)
		if !ok {
			return v, "not an ARN: it needs six parts"
		}
		v.arn = new(arnText)
		for i := range parts {
			v.arn[i] = newPattern(parts[i])
		}
	case testNumberEQ, testNumberLT, testNumberLE, testNumberGT, testNumberGE:
		var ok bool
		if v.number, ok = parseNumber(text); !ok {
			wrong = "not a number"
		}
	case testTimeEQ, testTimeLT, testTimeLE, testTimeGT, testTimeGE:
		var ok bool
		if v.time, ok = parseTime(text); !ok {
			wrong = "not a date: want ISO 8601 or seconds since 1970"
		}
	case testBool, testNull:
		switch {
		case strings.EqualFold(text, "true"):
			v.yes = true
		case !strings.EqualFold(text, "false"):
			wrong = `must be "true" or "false"`
		}
	case testBinary:
		var err error
		if v.binary, err = base64.StdEncoding.DecodeString(text); err != nil {
			wrong = "not base64"
		}
	case testIP:
		var ok bool
		if v.prefix, ok = parsePrefix(text); !ok {
			wrong = "not an IP address or CIDR range"
		}
	}
	return v, wrong
}

func parseNumber(s string) (float64, bool) {
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
}

func parseTime(s string) (time.Time, bool) {
	for _, layout := range [...]string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	f, ok := parseNumber(s)
	if !ok || math.Abs(f) > 1<<52 {
		return time.Time{}, false
	}
	whole, part := math.Modf(f)
	return time.Unix(int64(whole), int64(part*1e9)), true
}

func parsePrefix(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), true
}

// holds reports whether the condition is met.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
func (c *condition) holds(q *question) bool {
	values := q.values(c.key)
	if c.test == testNull {
		for i := range c.values {
			if c.values[i].yes == (len(values) == 0) {
				return true
			}
		}
		return false
	}
	switch c.quantifier {
	case forAllValues:
		if empty(values) {
			return true
		}
		for _, value := range values {
			if c.any(q, value) == c.negated {
				return false
			}
		}
		return true
	case forAnyValue:
		if empty(values) {
			return c.ifExists && len(values) == 0
		}
		for _, value := range values {
			if c.any(q, value) != c.negated {
				return true
			}
		}
		return false
	}
	if len(values) == 0 {
		return c.ifExists || c.negated
	}
	for _, value := range values {
		if c.any(q, value) {
			return !c.negated
		}
	}
	return c.negated
}

// empty reports AWS's "null data set": no values, or none but empty strings.
func empty(values []string) bool {
	for _, v := range values {
		if v != "" {
			return false
		}
	}
	return true
}

// any reports whether value passes the test with at least one of the policy's values.
func (c *condition) any(q *question, value string) bool {
	switch c.test {
	case testEquals, testEqualsFold, testLike:
		for i := range c.values {
			p := &c.values[i].pattern
			if c.test == testEqualsFold {
				if text, ok := p.resolve(q); ok && strings.EqualFold(text, value) {
					return true
				}
			} else if p.match(q, value) {
				return true
			}
		}
	case testBool:
		for i := range c.values {
			if c.values[i].yes && strings.EqualFold(value, "true") || !c.values[i].yes && strings.EqualFold(value, "false") {
				return true
			}
		}
	case testARN:
		return c.anyARN(q, value)
	case testIP:
		a, err := netip.ParseAddr(value)
		if err != nil {
			return false
		}
		a = a.Unmap()
		for i := range c.values {
			if c.values[i].prefix.Contains(a) {
				return true
			}
		}
	case testBinary:
		b, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return false
		}
		for i := range c.values {
			if bytes.Equal(c.values[i].binary, b) {
				return true
			}
		}
	case testNumberEQ, testNumberLT, testNumberLE, testNumberGT, testNumberGE:
		n, ok := parseNumber(value)
		for i := range c.values {
			if ok && c.compare(cmpNumber(n, c.values[i].number)) {
				return true
			}
		}
	case testTimeEQ, testTimeLT, testTimeLE, testTimeGT, testTimeGE:
		t, ok := parseTime(value)
		for i := range c.values {
			if ok && c.compare(t.Compare(c.values[i].time)) {
				return true
			}
		}
	}
	return false
}

func (c *condition) anyARN(q *question, value string) bool {
	a, ok := splitARN(value)
	for i := range c.values {
		v := &c.values[i]
		pattern := v.arn
		if pattern == nil {
			if v.pattern.shape == shapeAll {
				return true
			}
			marked, resolved := v.pattern.resolve(q)
			parts, isARN := splitARN(marked)
			if !resolved || !isARN {
				continue
			}
			pattern = new(arnText)
			for i := range parts {
				pattern[i] = newPattern(parts[i])
			}
		}
		if !ok {
			continue
		}
		fits := true
		for i := range pattern {
			fits = fits && pattern[i].match(q, a[i])
		}
		if fits {
			return true
		}
	}
	return false
}

func cmpNumber(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (c *condition) compare(sign int) bool {
	switch c.test {
	case testNumberEQ, testTimeEQ:
		return sign == 0
	case testNumberLT, testTimeLT:
		return sign < 0
	case testNumberLE, testTimeLE:
		return sign <= 0
	case testNumberGT, testTimeGT:
		return sign > 0
	}
	return sign >= 0
}
