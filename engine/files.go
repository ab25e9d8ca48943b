package engine

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/inject"
	"github.com/malote/malote/internal/firelens"
	"github.com/malote/malote/internal/s3file"
)

// cannotDownload is said in Fargate's words.
const cannotDownload = "ResourceInitializationError: failed to download env files"

// environmentFile is what an environment file is called among a container's versions.
func environmentFile(arn string) string { return "file:" + arn }

// wantsFiles reports whether any of the task's containers is to have something from S3.
func (t *task) wantsFiles() bool {
	return t.router != nil && t.router.S3 != "" ||
		slices.ContainsFunc(t.defs, func(def types.ContainerDefinition) bool { return len(def.EnvironmentFiles) > 0 })
}

// fetchFiles gives containers the variables of their environment files, and the log router its
// file. They go the way of secrets: a bucket that only the execution role may read is for these.
func (t *task) fetchFiles(ctx context.Context, resolver *inject.Resolver, out *resolved, of fetching) error {
	var failed inject.Errors
	read := map[[2]string]map[string]inject.Value{} // by ARN and version
	for _, def := range t.defs {
		container := aws.ToString(def.Name)
		if of.skips(container) {
			continue
		}
		given, _ := t.given(container, of)
		taken := t.taken(def, out)
		for _, f := range def.EnvironmentFiles {
			arn := aws.ToString(f.Value)
			version := given[environmentFile(arn)]
			variables, ok := read[[2]string{arn, version}]
			if !ok {
				var err error
				variables, err = variablesOf(ctx, resolver, arn, version)
				read[[2]string{arn, version}] = variables
				failed = appendErrors(failed, err, resolver.Role)
			}
			out.fill(container, arn, variables, taken)
		}
	}
	if len(failed) > 0 {
		return t.cannot(cannotDownload, failed)
	}
	return t.fetchRouterFile(resolver)
}

// variablesOf reads an environment file.
func variablesOf(ctx context.Context, resolver *inject.Resolver, arn, version string) (map[string]inject.Value, error) {
	file, err := resolver.File(ctx, arn, version)
	if err != nil {
		return nil, err
	}
	variables, err := s3file.Variables([]byte(file.Reveal()))
	if err != nil {
		return nil, &inject.Error{ValueFrom: arn, Err: err}
	}
	out := map[string]inject.Value{}
	for name, value := range variables {
		out[name] = inject.NewValue(value, arn, file.VersionID)
	}
	return out, nil
}

// taken are the variables that no file can set.
func (t *task) taken(def types.ContainerDefinition, out *resolved) map[string]bool {
	taken := map[string]bool{
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": true, "ECS_CONTAINER_METADATA_URI": true,
		"ECS_CONTAINER_METADATA_URI_V4": true, "ECS_AGENT_URI": true,
	}
	if firelens.Uses(&def) {
		taken["FLUENT_HOST"], taken["FLUENT_PORT"] = true, true
	}
	for _, kv := range def.Environment {
		taken[aws.ToString(kv.Name)] = true
	}
	for _, v := range out.secrets[aws.ToString(def.Name)] {
		taken[v.name] = true
	}
	return taken
}

// fill gives a container those variables of a file that it does not have yet.
func (r *resolved) fill(container, arn string, variables map[string]inject.Value, taken map[string]bool) {
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		v := variables[name]
		if v.VersionID != "" {
			if r.versions[container] == nil {
				r.versions[container] = map[string]string{}
			}
			r.versions[container][environmentFile(arn)] = v.VersionID
		}
		if !taken[name] {
			taken[name] = true
			r.secrets[container] = append(r.secrets[container], variable{name, v})
		}
	}
}

// fetchRouterFile writes the file of S3 that belongs to the log router's configuration. A
// router that was found has it.
func (t *task) fetchRouterFile(resolver *inject.Resolver) error {
	if t.router == nil || t.router.S3 == "" || t.id(t.router.Container) != "" {
		return nil
	}
	const what = "ResourceInitializationError: unable to download the s3 config file of firelens"
	file, err := resolver.File(t.effort, t.router.S3, "")
	if err != nil {
		return t.cannot(what, appendErrors(nil, err, resolver.Role))
	}
	files, err := t.routerFiles(t.router.Container)
	if err == nil {
		err = writeFile(files.external, []byte(file.Reveal()))
	}
	if err == nil {
		err = os.Chmod(files.external, 0o644) // the router's user may be any
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
