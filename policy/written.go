package policy

// Condition is one key of a statement's Condition element.
type Condition struct {
	Operator string // as written
	Key      string // in lower case
	Values   []string
}

// Actions are the statement's Action as written; not says that it is NotAction.
func (s *Statement) Actions() (values []string, not bool) {
	for i := range s.actions {
		values = append(values, s.actions[i].written)
	}
	return values, s.notAction
}

// Resources are the statement's Resource as written; not says that it is NotResource. A
// trust policy's statements have none.
func (s *Statement) Resources() (values []string, not bool) {
	for i := range s.resources {
		values = append(values, s.resources[i].written)
	}
	return values, s.notResource
}

// Conditions are the statement's, in the order of the text.
func (s *Statement) Conditions() []Condition {
	var out []Condition
	for i := range s.conditions {
		c := &s.conditions[i]
		one := Condition{Operator: c.operator, Key: c.key}
		for j := range c.values {
			one.Values = append(one.Values, c.values[j].written)
		}
		out = append(out, one)
	}
	return out
}
