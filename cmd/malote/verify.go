package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/inject"
	"github.com/malote/malote/internal/s3file"
	"github.com/malote/malote/internal/spoken"
)

type verifyCommand struct {
	TaskDefinition string `arg:"" name:"taskdef" help:"A task definition file." type:"existingfile"`
	JSON           bool   `name:"json" help:"Print JSON, one object a line."`
	connectFlags   `embed:""`
}

func (verifyCommand) Help() string {
	return `For each value that the file asks for: is it there, in that version, with that JSON
key; may its role read it; and if not, which statement says so. Exits with 1 when any
value cannot be resolved. You need to be allowed iam:SimulatePrincipalPolicy; what you
may not read yourself is said not to be checked, behind ok? in place of ok.

    malote verify task.json`
}

// finding is what verify says of one need.
type finding struct {
	Container string
	For       string
	ValueFrom string
	Role      string   `json:",omitempty"`
	Version   string   `json:",omitempty"`
	Problems  []string `json:",omitempty"`
	Unchecked []string `json:",omitempty"` // what the user may not find out
}

func (c *verifyCommand) Run(ctx context.Context, p *program) error {
	definition, err := readDefinition(c.TaskDefinition)
	if err != nil {
		return err
	}
	cfg, done, err := c.connect(ctx, p)
	if err != nil {
		return err
	}
	defer done()
	needs, err := needsOf(definition, cfg.Region)
	if err != nil {
		return err
	}
	v := &verifier{cfg: cfg, account: accountOf(definition), trusts: map[string]error{}, grant: "malote run --grant" + dataDirFlag(c.DataDir) + " " + shellWord(c.TaskDefinition)}
	failed, unsure := 0, 0
	for _, n := range needs {
		f := v.check(ctx, n)
		switch {
		case len(f.Problems) > 0:
			failed++
		case len(f.Unchecked) > 0:
			unsure++
		}
		if err := c.print(p, f); err != nil {
			return err
		}
	}
	if unsure > 0 {
		fmt.Fprintf(p.stderr, "malote: %d of %s not checked in every respect: you may not see what that takes\n", unsure, counted(len(needs), "value"))
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s cannot be resolved", failed, counted(len(needs), "value"))
	}
	return nil
}

func (c *verifyCommand) print(p *program, f finding) error {
	if c.JSON {
		return json.NewEncoder(p.stdout).Encode(f)
	}
	state := "ok  "
	switch {
	case len(f.Problems) > 0:
		state = "FAIL"
	case len(f.Unchecked) > 0:
		state = "ok? "
	}
	_, err := fmt.Fprintf(p.stdout, "%s %s %s ← %s", state, f.Container, f.For, f.ValueFrom)
	if f.Version != "" {
		fmt.Fprintf(p.stdout, " (version %s)", f.Version)
	}
	if f.Role != "" {
		fmt.Fprintf(p.stdout, " by %s", f.Role)
	}
	fmt.Fprintln(p.stdout)
	for _, problem := range f.Problems {
		fmt.Fprintf(p.stdout, "       %s\n", problem)
	}
	for _, unchecked := range f.Unchecked {
		fmt.Fprintf(p.stdout, "       not checked: %s\n", unchecked)
	}
	return err
}

// verifier asks the control plane with the user's own rights.
type verifier struct {
	cfg     aws.Config
	account string
	trusts  map[string]error // by role: nil when ECS may assume it
	grant   string           // the command that makes roles
}

func (v *verifier) check(ctx context.Context, n need) finding {
	f := finding{Container: n.container, For: n.as, ValueFrom: n.ref.ValueFrom, Role: n.role}
	if n.role == "" {
		f.Problems = append(f.Problems, "the task definition names no role to read it with")
	} else {
		v.checkTrust(ctx, n.role, &f)
	}
	v.checkValue(ctx, n, &f)
	if n.role != "" {
		v.checkRights(ctx, n, &f)
	}
	return f
}

// checkTrust finds out whether ECS can assume the role.
func (v *verifier) checkTrust(ctx context.Context, role string, f *finding) {
	err, known := v.trusts[role]
	if !known {
		err = v.trust(ctx, role)
		v.trusts[role] = err
	}
	if err == nil {
		return
	}
	if isDenied(err) {
		f.Unchecked = append(f.Unchecked, "whether ECS may assume the role: "+spoken.Text(err))
		return
	}
	f.Problems = append(f.Problems, spoken.Text(err))
}

func (v *verifier) trust(ctx context.Context, role string) error {
	out, err := iam.NewFromConfig(v.cfg).GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(roleName(role))})
	if missing := new(types.NoSuchEntityException); errors.As(err, &missing) {
		return fmt.Errorf("the role %s does not exist; %s makes it", role, v.grant)
	}
	if err != nil {
		return err
	}
	document, err := url.PathUnescape(aws.ToString(out.Role.AssumeRolePolicyDocument))
	if err != nil {
		return fmt.Errorf("reading the trust policy of %s: %w", role, err)
	}
	if !strings.Contains(document, "ecs-tasks.amazonaws.com") {
		return fmt.Errorf("the role %s cannot be assumed for a task: no statement of its trust policy names ecs-tasks.amazonaws.com", role)
	}
	return nil
}

// checkValue resolves the reference with the user's rights, for what only the value tells:
// that the version and the JSON key exist and the key is enabled.
func (v *verifier) checkValue(ctx context.Context, n need, f *finding) {
	if n.registry {
		if _, err := inject.RegistryCredentials(ctx, v.cfg, n.ref.ID); err != nil {
			f.say(err)
		}
		return
	}
	resolver := inject.Resolver{Config: v.cfg}
	if n.object != nil {
		file, err := resolver.File(ctx, n.ref.ValueFrom, "")
		if err == nil && strings.HasSuffix(n.object.Key, ".env") {
			_, err = s3file.Variables([]byte(file.Reveal()))
		}
		if err != nil {
			f.say(err)
		}
		f.Version = file.VersionID
		return
	}
	if n.path() {
		values, err := resolver.Path(ctx, n.ref)
		if err == nil {
			err = expands(n, values)
		}
		if err != nil {
			f.say(err)
		}
		return
	}
	values, err := resolver.Resolve(ctx, []inject.Ref{n.ref})
	if err != nil {
		f.say(err)
		return
	}
	value, ok := values[n.ref.ValueFrom]
	f.Version = value.VersionID
	if n.expand != nil && ok {
		keys, err := inject.Object(n.ref, value)
		if err == nil {
			err = expands(n, keys)
		}
		if err != nil {
			f.say(err)
		}
	}
}

// expands reports what keeps values from being variables.
func expands(n need, values map[string]inject.Value) error {
	if len(values) == 0 {
		return nil
	}
	_, err := n.expand.Variables(slices.Collect(maps.Keys(values)))
	return err
}

// say tells a problem from what the user may not see.
func (f *finding) say(err error) {
	if isDenied(err) {
		f.Unchecked = append(f.Unchecked, "the value itself: "+spoken.Text(err))
		return
	}
	f.Problems = append(f.Problems, spoken.Text(err))
}

// checkRights asks what the role may do.
func (v *verifier) checkRights(ctx context.Context, n need, f *finding) {
	if n.object != nil {
		v.fileRights(ctx, n, f)
		return
	}
	if n.ref.Service == inject.ParameterStore {
		parameter := parameterARN(n.ref, v.account)
		if n.path() {
			v.simulate(ctx, f, n.role, "ssm:GetParametersByPath", parameter, "", nil)
			v.pathKeyRights(ctx, n, parameter, f)
			return
		}
		v.simulate(ctx, f, n.role, "ssm:GetParameters", parameter, "", v.parameterTags(ctx, n.ref.Region, parameter))
		if secret, ok := n.reference(v.account); ok {
			v.secretRights(ctx, n, secret, f)
			return
		}
		client := ssm.NewFromConfig(v.cfg, func(o *ssm.Options) { o.Region = n.ref.Region })
		out, err := client.DescribeParameters(ctx, &ssm.DescribeParametersInput{ParameterFilters: []ssmtypes.ParameterStringFilter{
			{Key: aws.String("Name"), Option: aws.String("Equals"), Values: []string{parameterName(parameter)}},
		}})
		if err == nil && len(out.Parameters) == 1 && out.Parameters[0].Type == ssmtypes.ParameterTypeSecureString {
			v.keyRights(ctx, n, aws.ToString(out.Parameters[0].KeyId), "ssm", nil, f)
		}
		return
	}
	v.secretRights(ctx, n, n.ref.ID, f)
}

// parameterTags are the condition keys of a parameter's tags, as far as the user may see them.
func (v *verifier) parameterTags(ctx context.Context, region, parameter string) map[string]string {
	client := ssm.NewFromConfig(v.cfg, func(o *ssm.Options) { o.Region = region })
	out, err := client.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: ssmtypes.ResourceTypeForTaggingParameter, ResourceId: aws.String(parameterName(parameter))})
	if err != nil {
		return nil
	}
	keys := map[string]string{}
	for _, tag := range out.TagList {
		keys["aws:ResourceTag/"+*tag.Key], keys["ssm:resourceTag/"+*tag.Key] = *tag.Value, *tag.Value
	}
	return keys
}

// fileRights asks for an object, its bucket and the key that it is under.
func (v *verifier) fileRights(ctx context.Context, n need, f *finding) {
	region, key, err := keyOf(ctx, v.cfg, n.object)
	if err != nil {
		if isDenied(err) {
			f.Unchecked = append(f.Unchecked, "the KMS key of the object: "+spoken.Text(err))
		}
		region = n.ref.Region
	}
	bucketPolicy := ""
	policy, err := inject.S3(v.cfg, region).GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &n.object.Bucket})
	if err == nil {
		bucketPolicy = aws.ToString(policy.Policy)
	}
	v.simulate(ctx, f, n.role, "s3:GetBucketLocation", n.object.BucketARN(), bucketPolicy, nil)
	v.simulate(ctx, f, n.role, "s3:GetObject", n.object.ARN(), bucketPolicy, nil)
	n.ref.Region = region
	v.keyRights(ctx, n, key, "s3", nil, f)
}

// pathKeyRights asks for each key that something below a path is under.
func (v *verifier) pathKeyRights(ctx context.Context, n need, path string, f *finding) {
	keys := map[string]bool{}
	client := ssm.NewFromConfig(v.cfg, func(o *ssm.Options) { o.Region = n.ref.Region })
	pages := ssm.NewDescribeParametersPaginator(client, pathFilter(path))
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			f.Unchecked = append(f.Unchecked, "the KMS keys of "+path+": "+spoken.Text(err))
			return
		}
		for _, p := range page.Parameters {
			keys[aws.ToString(p.KeyId)] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		v.keyRights(ctx, n, key, "ssm", nil, f)
	}
}

// secretRights asks for a secret and the key that it is under.
func (v *verifier) secretRights(ctx context.Context, n need, id string, f *finding) {
	client := secretsmanager.NewFromConfig(v.cfg, func(o *secretsmanager.Options) { o.Region = n.ref.Region })
	secret, err := client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id})
	if err != nil {
		if isDenied(err) {
			f.Unchecked = append(f.Unchecked, "the role's rights: "+spoken.Text(err))
		}
		return // that it does not exist has been said
	}
	resourcePolicy := ""
	if policy, err := client.GetResourcePolicy(ctx, &secretsmanager.GetResourcePolicyInput{SecretId: secret.ARN}); err == nil {
		resourcePolicy = aws.ToString(policy.ResourcePolicy)
	}
	keys := map[string]string{"secretsmanager:SecretId": *secret.ARN, "secretsmanager:SecretPrimaryRegion": cmp.Or(aws.ToString(secret.PrimaryRegion), n.ref.Region)}
	for _, tag := range secret.Tags {
		keys["aws:ResourceTag/"+*tag.Key], keys["secretsmanager:ResourceTag/"+*tag.Key] = *tag.Value, *tag.Value
	}
	if n.ref.Service == inject.SecretsManager {
		if n.ref.VersionID != "" {
			keys["secretsmanager:VersionId"] = n.ref.VersionID
		}
		if n.ref.VersionStage != "" {
			keys["secretsmanager:VersionStage"] = n.ref.VersionStage
		}
	}
	v.simulate(ctx, f, n.role, "secretsmanager:GetSecretValue", *secret.ARN, resourcePolicy, keys)
	v.keyRights(ctx, n, aws.ToString(secret.KmsKeyId), "secretsmanager", map[string]string{"kms:EncryptionContext:SecretARN": *secret.ARN}, f)
}

// keyRights asks for a customer-managed key; AWS's own let the service's callers through.
func (v *verifier) keyRights(ctx context.Context, n need, id, service string, keys map[string]string, f *finding) {
	if id == "" || strings.HasPrefix(id, "alias/aws/") {
		return
	}
	client := kms.NewFromConfig(v.cfg, func(o *kms.Options) { o.Region = n.ref.Region })
	key, err := client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
	if err != nil {
		f.Unchecked = append(f.Unchecked, "the KMS key "+id+": "+spoken.Text(err))
		return
	}
	if key.KeyMetadata.KeyManager != kmstypes.KeyManagerTypeCustomer {
		return
	}
	keyPolicy := ""
	if policy, err := client.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: key.KeyMetadata.KeyId}); err == nil {
		keyPolicy = aws.ToString(policy.Policy)
	}
	known := map[string]string{
		"kms:ViaService": service + "." + n.ref.Region + ".amazonaws.com", "kms:CallerAccount": v.account,
		"aws:ViaAWSService": "true", "aws:CalledVia": service + ".amazonaws.com",
		"kms:KeySpec": string(key.KeyMetadata.KeySpec), "kms:KeyUsage": string(key.KeyMetadata.KeyUsage), "kms:KeyOrigin": string(key.KeyMetadata.Origin),
	}
	maps.Copy(known, keys)
	if tags, err := client.ListResourceTags(ctx, &kms.ListResourceTagsInput{KeyId: key.KeyMetadata.KeyId}); err == nil {
		for _, tag := range tags.Tags {
			known["aws:ResourceTag/"+*tag.TagKey] = *tag.TagValue
		}
	}
	v.simulate(ctx, f, n.role, "kms:Decrypt", *key.KeyMetadata.Arn, keyPolicy, known)
}

// simulate asks IAM whether role may do action, and says what the task will be told: who may
// not do what to what, for want of which policy or by which statement. Keys are what is
// known of the request.
func (v *verifier) simulate(ctx context.Context, f *finding, role, action, resource, resourcePolicy string, keys map[string]string) {
	ask := func(resourcePolicy string) (*types.EvaluationResult, error) {
		in := &iam.SimulatePrincipalPolicyInput{PolicySourceArn: &role, ActionNames: []string{action}, ResourceArns: []string{resource}}
		if resourcePolicy != "" {
			in.ResourcePolicy, in.CallerArn = &resourcePolicy, &role
		}
		known := map[string]string{"aws:SecureTransport": "true", "aws:CurrentTime": time.Now().UTC().Format(time.RFC3339), "aws:ViaAWSService": "false"}
		if parts := strings.SplitN(resource, ":", 6); len(parts) == 6 && parts[3] != "" {
			known["aws:RequestedRegion"], known["aws:ResourceAccount"] = parts[3], parts[4]
		}
		maps.Copy(known, keys)
		for _, key := range slices.Sorted(maps.Keys(known)) {
			in.ContextEntries = append(in.ContextEntries, types.ContextEntry{ContextKeyName: aws.String(key), ContextKeyType: types.ContextKeyTypeEnumString, ContextKeyValues: []string{known[key]}})
		}
		out, err := iam.NewFromConfig(v.cfg).SimulatePrincipalPolicy(ctx, in)
		if err != nil {
			return nil, err
		}
		if len(out.EvaluationResults) != 1 {
			return nil, fmt.Errorf("SimulatePrincipalPolicy answered %d results", len(out.EvaluationResults))
		}
		return &out.EvaluationResults[0], nil
	}
	result, err := ask(resourcePolicy)
	if missing := new(types.NoSuchEntityException); errors.As(err, &missing) {
		return // said already
	}
	if err != nil {
		f.Unchecked = append(f.Unchecked, "whether the role may "+action+": "+spoken.Text(err))
		return
	}
	if result.EvalDecision == types.PolicyEvaluationDecisionTypeAllowed {
		return
	}
	because := v.because(ctx, role, result, action)
	if resourcePolicy != "" && result.EvalDecision == types.PolicyEvaluationDecisionTypeImplicitDeny {
		// Whether the role's own policies would allow it tells whose fault it is.
		if alone, err := ask(""); err == nil && alone.EvalDecision == types.PolicyEvaluationDecisionTypeAllowed {
			because = "because no resource-based policy allows the " + action + " action"
		}
	}
	problem := fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s %s", sessionARN(role), action, resource, because)
	if strings.HasPrefix(action, "kms:") && strings.HasPrefix(keys["kms:ViaService"], "secretsmanager.") {
		problem = "Access to KMS is not allowed: " + problem
	}
	f.Problems = append(f.Problems, problem)
}

// because is the clause with which AWS ends a denial, and the statement that denies.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
func (v *verifier) because(ctx context.Context, role string, result *types.EvaluationResult, action string) string {
	layer, article := "identity-based policy", "an"
	if b := result.PermissionsBoundaryDecisionDetail; b != nil && !b.AllowedByPermissionsBoundary {
		layer, article = "permissions boundary", "a"
	}
	if result.EvalDecision != types.PolicyEvaluationDecisionTypeExplicitDeny {
		return fmt.Sprintf("because no %s allows the %s action", layer, action)
	}
	clause := ""
	for _, s := range result.MatchedStatements {
		if s.SourcePolicyType == types.PolicySourceTypeResource {
			layer, article = "resource-based policy", "a"
		}
		if s.SourcePolicyType != types.PolicySourceTypeResource {
			clause = ": " + v.policyNamed(ctx, role, aws.ToString(s.SourcePolicyId))
		}
		if s.StartPosition != nil {
			clause += fmt.Sprintf(" (the statement in line %d)", s.StartPosition.Line)
		}
		break
	}
	return "with an explicit deny in " + article + " " + layer + clause
}

// policyNamed is what a denial calls a policy of a role's, by the name that a simulation gives: the
// ARN of a managed one, the name of an inline one.
func (v *verifier) policyNamed(ctx context.Context, role, name string) string {
	client, roleName := iam.NewFromConfig(v.cfg), aws.String(roleName(role))
	if _, err := client.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: roleName, PolicyName: &name}); err == nil {
		return name
	}
	pages := iam.NewListAttachedRolePoliciesPaginator(client, &iam.ListAttachedRolePoliciesInput{RoleName: roleName})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			break
		}
		for _, attached := range page.AttachedPolicies {
			if aws.ToString(attached.PolicyName) == name {
				return aws.ToString(attached.PolicyArn)
			}
		}
	}
	if out, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: roleName}); err == nil && out.Role.PermissionsBoundary != nil {
		if arn := aws.ToString(out.Role.PermissionsBoundary.PermissionsBoundaryArn); strings.HasSuffix(arn, "/"+name) {
			return arn
		}
	}
	return name
}

// sessionARN is what a task is called that has the role.
func sessionARN(role string) string {
	parts := strings.SplitN(role, ":", 6)
	if len(parts) != 6 {
		return role
	}
	return "arn:aws:sts::" + parts[4] + ":assumed-role/" + roleName(role) + "/TASK"
}

func parameterName(parameter string) string {
	_, name, _ := strings.Cut(parameter, ":parameter")
	if strings.Count(name, "/") == 1 {
		name = strings.TrimPrefix(name, "/")
	}
	return name
}

// isDenied says whether an error is a refusal to the user himself.
func isDenied(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && strings.HasPrefix(api.ErrorCode(), "AccessDenied")
}
