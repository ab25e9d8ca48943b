package iam

import (
	"encoding/base64"
	"iter"
)

const defaultMaxItems = 100

// pageOf takes one page of items, which come in order from behind the marker. It returns
// the marker of the next page, or nil when this is the last. key is what a marker
// remembers of an item.
func pageOf[T any](items iter.Seq2[T, error], maxItems *int32, key func(T) string) (page []T, next *string, err error) {
	size := defaultMaxItems
	if maxItems != nil {
		size = int(*maxItems)
	}
	page = []T{} // an empty list is still an element of the answer
	for item, err := range items {
		if err != nil {
			return nil, nil, err
		}
		if len(page) == size {
			marker := base64.StdEncoding.EncodeToString([]byte(key(page[size-1])))
			return page, &marker, nil
		}
		page = append(page, item)
	}
	return page, nil, nil
}

// after is the key that a marker remembers, "" for the first page.
func after(marker *string) (string, error) {
	if marker == nil {
		return "", nil
	}
	key, err := base64.StdEncoding.Strict().DecodeString(*marker)
	if err != nil || len(key) == 0 {
		return "", validationError("Invalid Marker.")
	}
	return string(key), nil
}

// sliceAfter yields the items of a list behind the one with the given key. When that one
// has gone meanwhile the page begins anew: better twice than never.
func sliceAfter[T any](list []T, last string, key func(T) string) iter.Seq2[T, error] {
	start := 0
	if last != "" {
		for i, item := range list {
			if key(item) == last {
				start = i + 1
			}
		}
	}
	return func(yield func(T, error) bool) {
		for _, item := range list[start:] {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// filter keeps the items for which keep is true.
func filter[T any](items iter.Seq2[T, error], keep func(T) bool) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for item, err := range items {
			if (err != nil || keep(item)) && !yield(item, err) {
				return
			}
		}
	}
}

// convert gives each item another form.
func convert[T, U any](items []T, to func(T) U) []U {
	out := make([]U, len(items))
	for i, item := range items {
		out[i] = to(item)
	}
	return out
}

func identity(s string) string { return s }
