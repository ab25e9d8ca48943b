package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/malote/malote/inject"
)

// content is what a source has: a value, or many below a path.
type content struct {
	ref          inject.Ref // none for an object
	value        inject.Value
	below        map[string]inject.Value // nil unless it is a path
	arn, version string
}

// sources gets contents.
type sources struct {
	config aws.Config
}

func value(b []byte, arn, version string) inject.Value {
	return inject.NewValue(string(b), arn, version)
}

// get returns the content of each file. Each distinct source is asked for once; the error has
// every source that failed.
func (s *sources) get(ctx context.Context, files []File) ([]content, error) {
	resolver := &inject.Resolver{Config: s.config, Binary: true}
	var refs []inject.Ref
	var failed []error
	others := map[string]content{} // by valueFrom
	for _, f := range files {
		if f.IsVariable() {
			c, err := variable(f.ValueFrom)
			if err != nil {
				failed = append(failed, &fieldError{f.Name, "valueFrom", err})
			}
			others[f.ValueFrom] = c
			continue
		}
		ref, object, err := parseSource(f.ValueFrom, s.config.Region)
		if err != nil {
			return nil, &fieldError{f.Name, "valueFrom", err}
		}
		if _, known := others[f.ValueFrom]; known {
			continue
		}
		var c content
		switch {
		case object != nil:
			c, err = object.get(ctx, s.config)
		case ref.IsPath():
			c.ref = ref
			c.below, err = resolver.Path(ctx, ref)
		default:
			refs = append(refs, ref)
			continue
		}
		if err != nil {
			failed = append(failed, &fieldError{f.Name, "valueFrom", err})
		}
		others[f.ValueFrom] = c
	}
	values, err := resolver.Resolve(ctx, refs)
	if all, ok := errors.AsType[inject.Errors](err); ok {
		for _, e := range all {
			i := slices.IndexFunc(files, func(f File) bool { return f.ValueFrom == e.ValueFrom })
			failed = append(failed, &fieldError{files[i].Name, "valueFrom", e})
		}
	}
	if len(failed) > 0 {
		return nil, errors.Join(failed...)
	}
	contents := make([]content, len(files))
	for i, f := range files {
		c, known := others[f.ValueFrom]
		if !known {
			c.ref, _, _ = parseSource(f.ValueFrom, s.config.Region)
			c.value = values[f.ValueFrom]
		}
		contents[i] = c.named()
	}
	return contents, nil
}

// versions says by valueFrom what version there is now, and gets no value. A source that fails has
// none: getting it says why.
func (s *sources) versions(ctx context.Context, files []File) map[string]string {
	resolver := &inject.Resolver{Config: s.config}
	now := map[string]string{}
	var refs []inject.Ref
	for _, f := range files {
		ref, object, err := parseSource(f.ValueFrom, s.config.Region)
		if _, known := now[f.ValueFrom]; known || err != nil || f.IsVariable() {
			continue
		}
		switch {
		case object != nil:
			if etag, err := object.etag(ctx, s.config); err == nil {
				now[f.ValueFrom] = etag
			}
		case ref.IsPath():
			if below, err := resolver.PathVersions(ctx, ref); err == nil {
				now[f.ValueFrom] = pathVersion(below)
			}
		default:
			refs = append(refs, ref)
		}
	}
	told, _ := resolver.Versions(ctx, refs)
	maps.Copy(now, told)
	return now
}

// named sets what a log may tell of it.
func (c content) named() content {
	c.arn, c.version = c.value.ARN, c.value.VersionID
	if c.below != nil {
		versions := map[string]string{}
		for name, v := range c.below {
			versions[name] = v.VersionID
		}
		c.arn, c.version = c.ref.ID, pathVersion(versions)
	}
	return c
}

// pathVersion is another when one of those below the path has another version, comes or goes.
func pathVersion(versions map[string]string) string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		fmt.Fprintf(sum, "%q %s\n", name, versions[name])
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}
