package files

import (
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"time"

	"github.com/malote/malote/inject"
)

// Watch looks every interval, give or take a tenth, whether what Write wrote has changed at its
// source, writes it again, and then tells changed: first of all when Write itself found files of
// another content, such as those of a sidecar before this one, whose readers are there already. What
// goes wrong it logs, keeps the files and goes on. It returns when ctx ends.
func (s *Set) Watch(ctx context.Context, interval time.Duration, changed func()) {
	if s.changed {
		changed()
	}
	for {
		wait := interval - interval/10 + rand.N(interval/5+1)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if s.poll(ctx) {
			changed()
		}
	}
}

// poll reports whether a file is another than before.
func (s *Set) poll(ctx context.Context) bool {
	sources := &sources{config: s.Config}
	var ready []rendered
	for _, group := range s.stale(sources.versions(ctx, s.Files)) {
		contents, err := sources.get(ctx, group)
		if ctx.Err() != nil {
			return false
		}
		if err != nil {
			s.kept(group, err)
			continue
		}
		for i, f := range group {
			r, err := render(f, contents[i])
			if err != nil {
				s.kept(group[i:i+1], err)
				continue
			}
			if s.written[f.Name].sum == sha256.Sum256(r.bytes) {
				s.written[f.Name] = written{r.version, s.written[f.Name].sum}
				continue
			}
			ready = append(ready, r)
		}
	}
	if len(ready) == 0 {
		return false
	}
	if err := s.put(ready); err != nil {
		s.Log.Error("the files are kept as they are", "err", err)
		return false
	}
	return true
}

func (s *Set) kept(files []File, err error) {
	for _, f := range files {
		s.Log.Error("the file is kept as it is", "file", f.Name, "err", err)
	}
}

// stale are the files whose sources have another version than was written, or one that cannot be
// told without a value. Those of one secret are together, so that they are of one version too.
func (s *Set) stale(now map[string]string) [][]File {
	var groups [][]File
	index := map[inject.Ref]int{}
	for _, f := range s.Files {
		if version, told := now[f.ValueFrom]; told && version == s.written[f.Name].version {
			continue
		}
		key, _, err := parseSource(f.ValueFrom, s.Config.Region)
		if key.ValueFrom = f.ValueFrom; err == nil && key.Service == inject.SecretsManager {
			key.ValueFrom, key.JSONKey = "", ""
		}
		i, known := index[key]
		if !known {
			i = len(groups)
			index[key], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], f)
	}
	return groups
}
