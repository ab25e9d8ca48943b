package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/engine/shim"
	"github.com/malote/malote/inject"
	"github.com/malote/malote/internal/firelens"
	"github.com/malote/malote/internal/ourlabels"
)

// resolved is what a task's secrets turned out to be. All of its methods work on nil,
// which has none. It is not changed once made.
type resolved struct {
	secrets    map[string][]variable              // by container
	logOptions map[string]map[string]inject.Value // by container, by option
	logins     map[string]inject.Credentials      // by credentialsParameter
	versions   map[string]map[string]string       // version id by container, by name
	held       []acs.Held                         // the same, for the control plane
}

// variable is one secret variable.
type variable struct {
	name  string
	value inject.Value
}

// env returns a container's secret variables.
func (r *resolved) env(container string) []string {
	if r == nil {
		return nil
	}
	var out []string
	for _, s := range r.secrets[container] {
		out = append(out, s.name+"="+s.value.Reveal())
	}
	return out
}

// auth returns who to be at a registry.
func (r *resolved) auth(parameter string) (docker.Auth, bool) {
	if r == nil {
		return docker.Auth{}, false
	}
	c, ok := r.logins[parameter]
	return docker.Auth{Username: c.Username, Password: c.Password}, ok
}

// options returns the secret options of a container's log driver.
func (r *resolved) options(container string) map[string]inject.Value {
	if r == nil {
		return nil
	}
	return r.logOptions[container]
}

// values returns every value of the task, so that they can be kept out of what leaves.
func (r *resolved) values() []string {
	if r == nil {
		return nil
	}
	var out []string
	for _, list := range r.secrets {
		for _, s := range list {
			if s.value.ARN != "" { // a default is in the definition for all to see
				out = append(out, s.value.Reveal())
			}
		}
	}
	for _, list := range r.logOptions {
		for _, v := range list {
			out = append(out, v.Reveal())
		}
	}
	return out
}

// versionsOf is for a label: which version of each secret a container was given.
func (r *resolved) versionsOf(container string) string {
	if r == nil || len(r.versions[container]) == 0 {
		return ""
	}
	b, err := json.Marshal(r.versions[container])
	if err != nil {
		return ""
	}
	return string(b)
}

func (r *resolved) withoutValues() *resolved {
	if r == nil {
		return nil
	}
	return &resolved{versions: r.versions, held: r.held}
}

// resolve gets every secret of the task as its execution role, or none. For a task that
// was found running it gets the versions that its containers have, so that their health
// checks see what they see, and waits as long as that takes.
func (t *task) resolve() error {
	found := t.record.found
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		r, err := t.fetchSecrets(t.effort, fetching{found: found})
		if err == nil {
			t.mu.Lock()
			t.resolved = r
			t.mu.Unlock()
			t.recall(r) // before a line is read
			return t.reopen(r)
		}
		if !found || t.effort.Err() != nil || !t.record.allStarted() {
			return err
		}
		t.log.Warn("fetching again the secrets of a task that was found running", "err", err)
		t.send(event{kind: evMissing, reason: err.Error()})
		select {
		case <-t.effort.Done():
			return t.effort.Err()
		case <-time.After(wait):
		}
	}
}

// reopen serves containers that were found running.
func (t *task) reopen(r *resolved) error {
	for i, def := range t.defs {
		name := aws.ToString(def.Name)
		if t.id(name) != "" && forwarded(def) {
			if _, err := t.logging(t.effort, i, r); err != nil {
				return err
			}
		}
		id, env := t.id(name), r.env(name)
		if id == "" || len(env) == 0 || def.DockerLabels[ourlabels.Secrets] == ourlabels.DockerEnv {
			continue
		}
		endpoint, err := t.endpoint(i, shim.Payload{Env: env})
		if err != nil {
			return err
		}
		if err := endpoint.Bind(id); err != nil {
			return err
		}
	}
	return nil
}

// want is one entry of a container's secrets or of its log driver's secret options.
type want struct {
	container, name string // as in the container's versions
	option          string // of the log driver; empty: a variable
	router          string // of a log option: the container that is given it as the variable as
	as              string
	ref             inject.Ref
	version         string               // the one that the container has been given or is to be given; empty: the current one
	none            bool                 // it has been given none, as there was none
	absent          string               // of an optional variable: its value when there is none
	expand          *ourlabels.Expansion // it is many variables
	below           map[string]string    // of a path: the version of each parameter that it is to have; nil: all that there are
}

// fetching is which secrets of a task are to be had.
type fetching struct {
	found bool // what the containers of a task that was found have
	// again are containers that are run again: they get what is current, and have their logs.
	again []string
	// had are versions that such a container had at another time; nil: what is current.
	had map[string]string
}

func (f *fetching) skips(container string) bool {
	return f.again != nil && !slices.Contains(f.again, container)
}

// given is which versions a container has been given, or is to be given.
func (t *task) given(container string, f fetching) (versions map[string]string, found bool) {
	if f.again != nil {
		return f.had, f.had != nil
	}
	if versions, found = t.record.given(container); found {
		return versions, true
	}
	versions = map[string]string{}
	for _, p := range t.work.Pins {
		if p.Container == container && !p.Fixed {
			versions[p.Name] = p.Version
		}
	}
	return versions, false
}

// wants lists what a task's containers ask for.
func (t *task) wants(region string, f fetching) (all []want, failed inject.Errors) {
	for i, def := range t.defs {
		container := aws.ToString(def.Name)
		if f.skips(container) {
			continue
		}
		wishes, err := ourlabels.Of(&def)
		if err != nil {
			failed = appendErrors(failed, fmt.Errorf("container %s: %w", container, err), "")
			continue
		}
		given, found := t.given(container, f)
		add := func(w want, valueFrom *string) {
			w.ref, err = inject.Parse(aws.ToString(valueFrom), region)
			if err != nil {
				failed = appendErrors(failed, err, "")
				return
			}
			w.container, w.version = container, given[w.name]
			if value, optional := wishes.Optional[w.name]; optional && w.option == "" {
				w.ref.Optional, w.absent, w.none = true, value, found && w.version == ""
			}
			if w.path() {
				w.none = false
				for name, version := range given {
					if child, ok := strings.CutPrefix(name, w.name+":"); ok {
						if w.below == nil {
							w.below = map[string]string{}
						}
						w.below[child] = version
					}
				}
				if found && w.below == nil {
					w.none = true
				}
			}
			all = append(all, w)
		}
		for _, s := range def.Secrets {
			name := aws.ToString(s.Name)
			add(want{name: name, expand: wishes.Expand[name]}, s.ValueFrom)
		}
		if l := def.LogConfiguration; l != nil && f.again == nil {
			for _, s := range l.SecretOptions {
				w := want{name: logOption(aws.ToString(s.Name)), option: aws.ToString(s.Name)}
				if t.router.Source(container) != nil {
					w.router, w.as = t.router.Container, firelens.Variable(w.option, i)
				}
				add(w, s.ValueFrom)
			}
		}
	}
	return all, failed
}

// path reports whether it is all that is below a path.
func (w *want) path() bool { return w.expand != nil && w.ref.IsPath() }

// refs are what inject is to be asked for.
func (w *want) refs() []inject.Ref {
	switch {
	case w.none:
		return nil
	case w.path():
		var refs []inject.Ref
		for name, version := range w.below {
			refs = append(refs, pinned(w.ref.Child(name), version))
		}
		return refs
	}
	return []inject.Ref{pinned(w.ref, w.version)}
}

// region is where a valueFrom is that does not say.
func (t *task) region() string { return cmp.Or(t.work.Region, t.engine.AWS.Region) }

func (t *task) fetchSecrets(ctx context.Context, f fetching) (*resolved, error) {
	region := t.region()
	wants, failed := t.wants(region, f)
	var logins []string
	for _, def := range t.defs {
		if r := def.RepositoryCredentials; r != nil && f.again == nil && !slices.Contains(logins, aws.ToString(r.CredentialsParameter)) {
			logins = append(logins, aws.ToString(r.CredentialsParameter))
		}
	}
	if len(failed) > 0 {
		return nil, t.cannotPull(failed)
	}
	if len(wants)+len(logins) == 0 && !t.wantsFiles() {
		return &resolved{}, nil
	}
	config, role, err := t.asExecutionRole(ctx, f.found, region)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cannotPull, err)
	}

	out := &resolved{
		secrets: map[string][]variable{}, logOptions: map[string]map[string]inject.Value{},
		logins: map[string]inject.Credentials{}, versions: map[string]map[string]string{},
	}
	resolver := &inject.Resolver{Config: config, Role: role}
	values, err := resolver.Resolve(ctx, distinctRefs(wants))
	failed = appendErrors(failed, err, role)
	paths := map[string]map[string]inject.Value{}
	for _, w := range wants {
		if !w.path() || w.below != nil || w.none || paths[w.ref.ValueFrom] != nil {
			continue
		}
		paths[w.ref.ValueFrom], err = resolver.Path(ctx, w.ref)
		failed = appendErrors(failed, err, role)
	}
	// Found containers have their images.
	for _, parameter := range logins {
		login, err := inject.RegistryCredentials(ctx, config, parameter)
		if f.found && err != nil && t.record.allStarted() {
			continue
		}
		failed = appendErrors(failed, err, role)
		out.logins[parameter] = login
	}
	if len(failed) > 0 {
		return nil, t.cannotPull(failed)
	}
	for _, w := range wants {
		if err := out.take(w, values, paths[w.ref.ValueFrom]); err != nil {
			failed = appendErrors(failed, err, role)
		}
	}
	for _, def := range t.defs {
		if err := out.unambiguous(def); err != nil {
			failed = appendErrors(failed, err, "")
		}
	}
	if len(failed) > 0 {
		return nil, t.cannotPull(failed)
	}
	if err := t.fetchFiles(ctx, resolver, out, f); err != nil {
		return nil, err
	}
	return out, nil
}

// distinctRefs is what wants ask for, each once. A value that is optional in one place and not in
// another is not optional.
func distinctRefs(wants []want) (refs []inject.Ref) {
	for _, w := range wants {
		for _, ref := range w.refs() {
			i := slices.IndexFunc(refs, func(r inject.Ref) bool { return r.ValueFrom == ref.ValueFrom })
			if i < 0 {
				refs = append(refs, ref)
			} else if !ref.Optional {
				refs[i].Optional = false
			}
		}
	}
	return refs
}

// take gives a container what it wants.
func (r *resolved) take(w want, values map[string]inject.Value, below map[string]inject.Value) error {
	if w.path() {
		if w.below != nil {
			below = map[string]inject.Value{}
			for name := range w.below {
				below[name] = values[pinned(w.ref.Child(name), w.below[name]).ValueFrom]
			}
		}
		return r.expand(w, below, func(name string) (string, inject.Ref) { return w.name + ":" + name, w.ref.Child(name) })
	}
	v, ok := values[pinned(w.ref, w.version).ValueFrom]
	switch {
	case !ok || w.none:
		if w.absent != "" {
			r.secrets[w.container] = append(r.secrets[w.container], variable{w.name, inject.NewValue(w.absent, "", "")})
		}
		return nil
	case w.option != "":
		if r.logOptions[w.container] == nil {
			r.logOptions[w.container] = map[string]inject.Value{}
		}
		r.logOptions[w.container][w.option] = v
		if w.router != "" {
			r.secrets[w.router] = append(r.secrets[w.router], variable{w.as, v})
		}
	case w.expand != nil:
		keys, err := inject.Object(w.ref, v)
		if err != nil {
			return err
		}
		r.note(w.container, w.name, w.ref, v)
		return r.expand(w, keys, nil)
	default:
		r.secrets[w.container] = append(r.secrets[w.container], variable{w.name, v})
	}
	r.note(w.container, w.name, w.ref, v)
	return nil
}

// expand gives a container the variables that many values are. Each is noted as what noted says.
func (r *resolved) expand(w want, parts map[string]inject.Value, noted func(key string) (string, inject.Ref)) error {
	if len(parts) == 0 && w.ref.Optional {
		return nil
	}
	names, err := w.expand.Variables(slices.Collect(maps.Keys(parts)))
	if err != nil {
		return &inject.Error{ValueFrom: w.ref.ValueFrom, Err: fmt.Errorf("expanding the secret %s of container %s: %w", w.name, w.container, err)}
	}
	for _, key := range slices.Sorted(maps.Keys(names)) {
		r.secrets[w.container] = append(r.secrets[w.container], variable{names[key], parts[key]})
		if noted != nil {
			what, ref := noted(key)
			r.note(w.container, what, ref, parts[key])
		}
	}
	return nil
}

// note remembers which version a container is given.
func (r *resolved) note(container, what string, ref inject.Ref, v inject.Value) {
	if r.versions[container] == nil {
		r.versions[container] = map[string]string{}
	}
	r.versions[container][what] = v.VersionID
	if h, ok := heldBy(ref, v); ok {
		h.Container, h.Name = container, what
		r.held = append(r.held, h)
	}
}

// unambiguous refuses a variable that a container would have twice.
func (r *resolved) unambiguous(def types.ContainerDefinition) error {
	seen := map[string]bool{}
	for _, kv := range def.Environment {
		seen[aws.ToString(kv.Name)] = true
	}
	for _, v := range r.secrets[aws.ToString(def.Name)] {
		if seen[v.name] {
			return fmt.Errorf("container %s would have the variable %s twice: by an expanded secret or a log option, and by another secret or the definition's environment", aws.ToString(def.Name), v.name)
		}
		seen[v.name] = true
	}
	return nil
}

// logOption is what a log driver's secret option is called among a container's versions.
func logOption(name string) string { return "log:" + name }

// pinned is ref at one version; "" is the current one. Its ValueFrom says so, since containers of
// one task may have several versions of what they call by the same.
func pinned(ref inject.Ref, version string) inject.Ref {
	if version == "" {
		return ref
	}
	if ref.Service == inject.SecretsManager {
		ref.VersionID, ref.VersionStage = version, ""
		ref.ValueFrom = ref.ID + ":" + ref.JSONKey + "::" + version
		return ref
	}
	if name, _, ok := parameter(ref); ok {
		ref.ID = name + ":" + version
		ref.ValueFrom = ref.ID
	}
	return ref
}

// parameter is a parameter's name or ARN and its selector, "" for none. It is not ok for a
// reference to a secret, which has no versions of its own.
func parameter(ref inject.Ref) (name, selector string, ok bool) {
	// A parameter's ARN has five colons before its name.
	prefix, name := "", ref.ID
	if i := strings.LastIndex(ref.ID, ":parameter/"); i >= 0 {
		prefix, name = ref.ID[:i+len(":parameter/")], ref.ID[i+len(":parameter/"):]
	}
	if strings.HasPrefix(name, "/aws/reference/") || strings.HasPrefix(name, "aws/reference/") {
		return "", "", false
	}
	name, selector, _ = strings.Cut(name, ":")
	return prefix + name, selector, true
}

// heldBy is what a container has that was given v for ref. It is not ok for a reference to a
// secret, whose version Parameter Store does not tell.
func heldBy(ref inject.Ref, v inject.Value) (h acs.Held, ok bool) {
	h = acs.Held{ARN: v.ARN, Version: v.VersionID}
	if ref.Service == inject.SecretsManager {
		h.Selector, h.Fixed = cmp.Or(ref.VersionStage, "AWSCURRENT"), ref.VersionID != ""
		return h, true
	}
	if _, h.Selector, ok = parameter(ref); ok {
		_, err := strconv.ParseInt(h.Selector, 10, 64)
		h.Fixed = err == nil
	}
	return h, ok
}

// appendErrors adds what inject says, and that it was asked as role.
func appendErrors(all inject.Errors, err error, role string) inject.Errors {
	if err == nil {
		return all
	}
	if several, ok := errors.AsType[inject.Errors](err); ok {
		return append(all, several...)
	}
	one, ok := errors.AsType[*inject.Error](err)
	if !ok {
		one = &inject.Error{Err: err}
	}
	one.Role = role
	return append(all, one)
}

// cannotPull is said in Fargate's words, which name what could not be had.
const cannotPull = "ResourceInitializationError: unable to pull secrets or registry auth"

// cannotPull tells of secrets that could not be had.
func (t *task) cannotPull(failed inject.Errors) error { return t.cannot(cannotPull, failed) }

// cannot tells as many of the failures as a reason takes; the log has them all.
func (t *task) cannot(what string, failed inject.Errors) error {
	texts, hint := failed.Texts(), ""
	if failed.Denied() {
		// AWS's denials name the kind of policy alone, and no role may ask for more.
		hint = ". To see which statement decides and which KMS key is meant: malote verify TASKDEF.json"
	}
	said := summary(texts, reasonLimit-len(what+": "+hint))
	if said != strings.Join(texts, "; ") {
		for _, text := range texts {
			t.log.Info("a secret could not be had", "err", text)
		}
	}
	return errors.New(what + ": " + said + hint)
}

// asExecutionRole returns the engine's configuration with the task's execution role in it.
func (t *task) asExecutionRole(ctx context.Context, wait bool, region string) (aws.Config, string, error) {
	for {
		t.mu.Lock()
		c, changed := t.execution, t.credentials
		t.mu.Unlock()
		if c != nil && (!wait || c.Expiration.IsZero() || c.Expiration.After(t.engine.now())) {
			return withCredentials(t.engine.AWS, c, region), c.RoleARN, nil
		}
		if !wait {
			if t.work.Definition.ExecutionRoleArn == nil && (t.work.Overrides == nil || t.work.Overrides.ExecutionRoleArn == nil) {
				return aws.Config{}, "", errors.New("When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.")
			}
			return aws.Config{}, "", errors.New("unable to find execution role credentials")
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return aws.Config{}, "", ctx.Err()
		}
	}
}

func withCredentials(config aws.Config, c *acs.Credentials, region string) aws.Config {
	config = config.Copy()
	config.Credentials = credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
	if region != "" {
		config.Region = region
	}
	return config
}

// forwarded reports whether a container's log goes through the engine.
func forwarded(def types.ContainerDefinition) bool {
	return hasSecretOptions(def) || firelens.Uses(&def) || def.LogConfiguration != nil && def.LogConfiguration.LogDriver == types.LogDriverAwslogs
}

// hasSecretOptions reports whether a container's log driver wants secrets.
func hasSecretOptions(def types.ContainerDefinition) bool {
	return def.LogConfiguration != nil && len(def.LogConfiguration.SecretOptions) > 0
}
