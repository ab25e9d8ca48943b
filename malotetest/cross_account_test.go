package malotetest_test

import (
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/malotetest"
)

// neighbours are two accounts that have to do with each other. What is shared is the owner's,
// malotetest.Account's.
type neighbours struct {
	*malotetest.System
	t     *testing.T
	guest string     // the other account
	admin aws.Config // its administrator
}

func newNeighbours(t *testing.T) *neighbours {
	t.Helper()
	sys := malotetest.New(t)
	const guest = "210987654321"
	return &neighbours{sys, t, guest, sys.Other(t, guest)}
}

// user makes a user of the guest's, with a policy ("" for none).
func (n *neighbours) user(name, policy string) aws.Config {
	n.t.Helper()
	client := iam.NewFromConfig(n.admin)
	if _, err := client.CreateUser(n.t.Context(), &iam.CreateUserInput{UserName: &name}); err != nil {
		n.t.Fatal(err)
	}
	if policy != "" {
		n.grant(name, policy)
	}
	key, err := client.CreateAccessKey(n.t.Context(), &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		n.t.Fatal(err)
	}
	return n.Credentials(*key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey, "")
}

// grant gives a user of the guest's another policy.
func (n *neighbours) grant(user, policy string) {
	n.t.Helper()
	if _, err := iam.NewFromConfig(n.admin).PutUserPolicy(n.t.Context(), &iam.PutUserPolicyInput{UserName: &user, PolicyName: aws.String("test"), PolicyDocument: &policy}); err != nil {
		n.t.Fatal(err)
	}
}

// lets is a resource's policy: who may do what, on "" for a trust policy's role.
func lets(who, actions, resource, condition string) *string {
	statement := `{"Effect":"Allow","Principal":` + who + `,"Action":` + actions
	if resource != "" {
		statement += `,"Resource":"` + resource + `"`
	}
	if condition != "" {
		statement += `,"Condition":` + condition
	}
	return aws.String(`{"Version":"2012-10-17","Statement":[` + statement + `}]}`)
}

func principal(arn string) string { return `{"AWS":"` + arn + `"}` }

// A role is assumed across accounts when its trust policy and the caller's own policies both
// say so, and no organization has a say.
func TestAssumeRoleAcrossAccounts(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t)
	ctx := t.Context()
	people := iam.NewFromConfig(n.Config())
	const role = "arn:aws:iam::" + malotetest.Account + ":role/shared"
	trust := func(policy *string) {
		t.Helper()
		if _, err := people.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("shared"), PolicyDocument: policy}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := people.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("shared"), AssumeRolePolicyDocument: lets(principal(malotetest.Account), `"sts:AssumeRole"`, "", "")}); err != nil {
		t.Fatal(err)
	}
	if _, err := people.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("shared"), PolicyName: aws.String("p"), PolicyDocument: aws.String(malotetest.Allow("*", "secretsmanager:GetSecretValue"))}); err != nil {
		t.Fatal(err)
	}
	bob := sts.NewFromConfig(n.user("bob", malotetest.Allow(role, "sts:AssumeRole")))
	nobody := sts.NewFromConfig(n.user("nobody", ""))
	assume := func(client *sts.Client, externalID *string) (*sts.AssumeRoleOutput, error) {
		return client.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String(role), RoleSessionName: aws.String("session"), ExternalId: externalID})
	}
	refused := func(what string, client *sts.Client, user string, externalID *string) {
		t.Helper()
		_, err := assume(client, externalID)
		wantError(t, what, err, "AccessDenied", "User: arn:aws:iam::"+n.guest+":user/"+user+" is not authorized to perform: sts:AssumeRole on resource: "+role)
		if err != nil && strings.Contains(err.Error(), "because") {
			t.Errorf("%s: a stranger is told why: %v", what, err)
		}
	}
	allowed := func(what string, client *sts.Client, externalID *string) *sts.AssumeRoleOutput {
		t.Helper()
		out, err := assume(client, externalID)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return out
	}

	refused("a role that trusts its own account", bob, "bob", nil)
	trust(lets(principal("arn:aws:iam::"+n.guest+":root"), `"sts:AssumeRole"`, "", ""))
	session := allowed("a role that trusts the account", bob, nil)
	refused("one who is not allowed at home", nobody, "nobody", nil)
	trust(lets(principal(n.guest), `"sts:AssumeRole"`, "", `{"StringEquals":{"sts:ExternalId":"agreed"}}`))
	refused("no external id", bob, "bob", nil)
	refused("another external id", bob, "bob", aws.String("guessed"))
	allowed("the external id", bob, aws.String("agreed"))
	trust(lets(principal("arn:aws:iam::"+n.guest+":user/nobody"), `"sts:AssumeRole"`, "", ""))
	refused("another user is named", bob, "bob", nil)
	refused("the one who is named is not allowed at home", nobody, "nobody", nil)
	trust(lets(principal("*"), `"sts:AssumeRole"`, "", `{"StringEquals":{"aws:PrincipalAccount":"`+n.guest+`"}}`))
	allowed("aws:PrincipalAccount", bob, nil)
	trust(lets(principal("*"), `"sts:AssumeRole"`, "", `{"StringEquals":{"aws:PrincipalAccount":"`+malotetest.Account+`"}}`))
	refused("another aws:PrincipalAccount", bob, "bob", nil)
	n.grant("bob", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*","Condition":{"StringEquals":{"aws:ResourceAccount":"`+n.guest+`"}}}]}`)
	trust(lets(principal(n.guest), `"sts:AssumeRole"`, "", ""))
	refused("aws:ResourceAccount", bob, "bob", nil)

	// The session is the role's account's, and of nothing at home.
	inside := n.Credentials(*session.Credentials.AccessKeyId, *session.Credentials.SecretAccessKey, *session.Credentials.SessionToken)
	who, err := sts.NewFromConfig(inside).GetCallerIdentity(ctx, nil)
	if err != nil || *who.Account != malotetest.Account || *who.Arn != "arn:aws:sts::"+malotetest.Account+":assumed-role/shared/session" {
		t.Errorf("GetCallerIdentity = %v, %v", who, err)
	}
	value := n.Canary()
	ours, err := secretsmanager.NewFromConfig(n.Config()).CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: &value})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := secretsmanager.NewFromConfig(n.admin).CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: aws.String(n.Canary())})
	if err != nil {
		t.Fatal(err)
	}
	secrets := secretsmanager.NewFromConfig(inside)
	if got, err := secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: ours.ARN}); err != nil || *got.SecretString != value {
		t.Errorf("the session and the owner's secret: %v", err)
	}
	_, err = secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: theirs.ARN})
	wantError(t, "the session and the guest's secret", err, "AccessDeniedException", "no resource-based policy")
}

// A secret is read across accounts by its ARN, when its policy, the reader's own, and the key
// all say so; under the key of AWS's it cannot be.
func TestSecretAcrossAccounts(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t)
	ctx := t.Context()
	owner, keys := secretsmanager.NewFromConfig(n.Config()), kms.NewFromConfig(n.Config())
	key, err := keys.CreateKey(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	value := n.Canary()
	secret, err := owner.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: &value, KmsKeyId: key.KeyMetadata.KeyId})
	if err != nil {
		t.Fatal(err)
	}
	managed, err := owner.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("managed"), SecretString: aws.String(n.Canary())})
	if err != nil {
		t.Fatal(err)
	}
	share := func(id *string, policy *string) {
		t.Helper()
		if _, err := owner.PutResourcePolicy(ctx, &secretsmanager.PutResourcePolicyInput{SecretId: id, ResourcePolicy: policy}); err != nil {
			t.Fatal(err)
		}
	}
	keyPolicy := func(more string) {
		t.Helper()
		text := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + malotetest.Account + `"},"Action":"kms:*","Resource":"*"}` + more + `]}`
		if _, err := keys.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: key.KeyMetadata.KeyId, Policy: &text}); err != nil {
			t.Fatal(err)
		}
	}
	const read = "secretsmanager:GetSecretValue"
	bob := secretsmanager.NewFromConfig(n.user("bob", malotetest.Allow("*", read)))
	get := func(client *secretsmanager.Client, id *string) (*secretsmanager.GetSecretValueOutput, error) {
		return client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: id})
	}

	_, err = get(bob, secret.ARN)
	wantError(t, "nothing is shared", err, "AccessDeniedException", "because no resource-based policy allows the "+read+" action")
	share(secret.ARN, lets(principal("arn:aws:iam::"+n.guest+":root"), `"`+read+`"`, "*", ""))
	_, err = get(bob, secret.ARN)
	wantError(t, "the key is not shared", err, "AccessDeniedException", "Access to KMS is not allowed")
	keyPolicy(`,{"Effect":"Allow","Principal":{"AWS":"` + n.guest + `"},"Action":"kms:Decrypt","Resource":"*","Condition":{"StringEquals":{"kms:ViaService":"secretsmanager.us-east-1.amazonaws.com","kms:CallerAccount":"` + n.guest + `"}}}`)
	_, err = get(bob, secret.ARN)
	wantError(t, "no right to the key at home", err, "AccessDeniedException", "Access to KMS is not allowed")
	n.grant("bob", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"`+read+`","Resource":"*"},{"Effect":"Allow","Action":"kms:Decrypt","Resource":"`+*key.KeyMetadata.Arn+`"}]}`)
	if got, err := get(bob, secret.ARN); err != nil || *got.SecretString != value || *got.ARN != *secret.ARN {
		t.Errorf("shared: %v", err)
	}
	if got, err := get(secretsmanager.NewFromConfig(n.OtherRoot(t, "310987654321")), secret.ARN); err == nil {
		t.Errorf("a third account's root reads %v", *got.Name)
	}
	_, err = get(bob, aws.String("db"))
	wantError(t, "a name is one's own account's", err, "ResourceNotFoundException", "")
	_, err = bob.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: secret.ARN})
	wantError(t, "what is not shared", err, "AccessDeniedException", "secretsmanager:DescribeSecret")
	nobody := secretsmanager.NewFromConfig(n.user("nobody", ""))
	share(secret.ARN, lets(principal("arn:aws:iam::"+n.guest+":user/nobody"), `"`+read+`"`, "*", ""))
	_, err = get(nobody, secret.ARN)
	wantError(t, "named, and not allowed at home", err, "AccessDeniedException", "because no identity-based policy allows the "+read+" action")
	_, err = get(bob, secret.ARN)
	wantError(t, "another is named", err, "AccessDeniedException", "no resource-based policy")
	for account, want := range map[string]string{n.guest: "", malotetest.Account: "AccessDeniedException"} {
		share(secret.ARN, lets(principal("*"), `"`+read+`"`, "*", `{"StringEquals":{"aws:PrincipalAccount":"`+account+`"}}`))
		if _, err := get(bob, secret.ARN); want == "" && err != nil {
			t.Errorf("aws:PrincipalAccount %s: %v", account, err)
		} else if want != "" {
			wantError(t, "aws:PrincipalAccount "+account, err, want, "no resource-based policy")
		}
	}
	for account, want := range map[string]string{malotetest.Account: "", n.guest: "AccessDeniedException"} {
		n.grant("bob", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["`+read+`","kms:Decrypt"],"Resource":"*","Condition":{"StringEquals":{"aws:ResourceAccount":"`+account+`"}}}]}`)
		share(secret.ARN, lets(principal(n.guest), `"`+read+`"`, "*", ""))
		if _, err := get(bob, secret.ARN); want == "" && err != nil {
			t.Errorf("aws:ResourceAccount %s: %v", account, err)
		} else if want != "" {
			wantError(t, "aws:ResourceAccount "+account, err, want, "no identity-based policy")
		}
	}

	n.grant("bob", malotetest.Allow("*", read, "kms:*"))
	share(managed.ARN, lets(principal(n.guest), `"`+read+`"`, "*", ""))
	_, err = get(bob, managed.ARN)
	wantError(t, "the key of AWS's", err, "InvalidRequestException", "You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key.")

	// It may be written from there, too, and stays the owner's.
	share(secret.ARN, lets(principal(n.guest), `["`+read+`","secretsmanager:PutSecretValue"]`, "*", ""))
	n.grant("bob", malotetest.Allow("*", read, "secretsmanager:PutSecretValue", "kms:Decrypt", "kms:GenerateDataKey"))
	next := n.Canary()
	put := &secretsmanager.PutSecretValueInput{SecretId: secret.ARN, SecretString: &next}
	_, err = bob.PutSecretValue(ctx, put)
	wantError(t, "writing without the key", err, "AccessDeniedException", "Access to KMS is not allowed")
	keyPolicy(`,{"Effect":"Allow","Principal":{"AWS":"` + n.guest + `"},"Action":["kms:Decrypt","kms:GenerateDataKey"],"Resource":"*"}`)
	if _, err := bob.PutSecretValue(ctx, put); err != nil {
		t.Fatal(err)
	}
	if got, err := get(owner, aws.String("db")); err != nil || *got.SecretString != next {
		t.Errorf("the owner reads what the guest wrote: %v", err)
	}

	if _, err := keys.DisableKey(ctx, &kms.DisableKeyInput{KeyId: key.KeyMetadata.KeyId}); err != nil {
		t.Fatal(err)
	}
	if _, err := get(bob, secret.ARN); err == nil {
		t.Error("the guest reads under a key that its owner disabled")
	}
}

// A key's policy and its grants let another account in, by the key's ARN alone; what one
// may do at home counts too.
func TestKeyAcrossAccounts(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t)
	ctx := t.Context()
	owner := kms.NewFromConfig(n.Config())
	made, err := owner.CreateKey(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	key := made.KeyMetadata
	if _, err := owner.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/shared"), TargetKeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	alias := "arn:aws:kms:us-east-1:" + malotetest.Account + ":alias/shared"
	user := n.user("bob", malotetest.Allow(*key.Arn, "kms:Encrypt", "kms:Decrypt", "kms:DescribeKey"))
	bob := kms.NewFromConfig(user)
	encrypt := func(id string) error {
		_, err := bob.Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
		return err
	}
	const hidden = "on this resource because the resource does not exist in this Region, no resource-based policies allow access"
	wantError(t, "a key of which nobody says anything", encrypt(*key.Arn), "AccessDeniedException", hidden)
	wantError(t, "a key that there is not", encrypt("arn:aws:kms:us-east-1:"+malotetest.Account+":key/1234abcd-12ab-34cd-56ef-1234567890ab"), "AccessDeniedException", "kms:Encrypt")

	text := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["` + malotetest.Account + `","` + n.guest + `"]},"Action":"kms:*","Resource":"*"}]}`
	if _, err := owner.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: key.KeyId, Policy: &text}); err != nil {
		t.Fatal(err)
	}
	if err := encrypt(*key.Arn); err != nil {
		t.Errorf("by the key's ARN: %v", err)
	}
	if err := encrypt(alias); err != nil {
		t.Errorf("by an alias's ARN, allowed on the key: %v", err)
	}
	wantError(t, "an id is of one's own account", encrypt(*key.KeyId), "AccessDeniedException", n.guest+":key/"+*key.KeyId)
	wantError(t, "an alias is of one's own account", encrypt("alias/shared"), "AccessDeniedException", n.guest+":alias/shared")
	n.grant("bob", malotetest.Allow(alias, "kms:Encrypt"))
	wantError(t, "allowed on the alias at home", encrypt(*key.Arn), "AccessDeniedException", "no identity-based policy allows the kms:Encrypt action")
	n.grant("bob", malotetest.Allow("*", "kms:GenerateDataKey"))
	wantError(t, "not allowed at home", encrypt(*key.Arn), "AccessDeniedException", "no identity-based policy allows the kms:Encrypt action")

	wantError(t, "an alias, not allowed at home", encrypt(alias), "AccessDeniedException", "on resource: "+alias+" because")
	wantError(t, "an alias that there is not", encrypt(alias+"-absent"), "AccessDeniedException", "on resource: "+alias+"-absent because")

	// A grant is one more way in, and needs the right at home as well.
	text = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + malotetest.Account + `"},"Action":"kms:*","Resource":"*"}]}`
	if _, err := owner.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: key.KeyId, Policy: &text}); err != nil {
		t.Fatal(err)
	}
	n.grant("bob", malotetest.Allow(*key.Arn, "kms:*"))
	wantError(t, "before the grant", encrypt(*key.Arn), "AccessDeniedException", hidden)
	grant, err := owner.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: key.KeyId, GranteePrincipal: aws.String("arn:aws:iam::" + n.guest + ":user/bob"), Operations: []kmstypes.GrantOperation{"Encrypt"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := encrypt(*key.Arn); err != nil {
		t.Errorf("by the grant: %v", err)
	}
	_, err = bob.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: key.Arn})
	wantError(t, "what is not granted", err, "AccessDeniedException", hidden)
	n.grant("bob", malotetest.Allow("*", "s3:*"))
	wantError(t, "the grant, and nothing at home", encrypt(*key.Arn), "AccessDeniedException", "kms:Encrypt")
	n.grant("bob", malotetest.Allow(*key.Arn, "kms:*"))
	_, err = bob.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: key.Arn, GrantId: grant.GrantId})
	wantError(t, "revoking one's own grant", err, "AccessDeniedException", hidden)
	if _, err := owner.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: key.KeyId, GrantId: grant.GrantId}); err != nil {
		t.Fatal(err)
	}
	wantError(t, "after the grant", encrypt(*key.Arn), "AccessDeniedException", hidden)
}

// A bucket is its owner's, and so is what others write into it.
func TestBucketAcrossAccounts(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t)
	ctx := t.Context()
	owner := s3.NewFromConfig(n.Config())
	bucket := aws.String("shared-bucket")
	if _, err := owner.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	value := n.Canary()
	put := func(client *s3.Client, key, value string, more func(*s3.PutObjectInput)) error {
		in := &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: strings.NewReader(value)}
		if more != nil {
			more(in)
		}
		_, err := client.PutObject(ctx, in)
		return err
	}
	get := func(client *s3.Client, key string) (string, error) {
		out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key})
		if err != nil {
			return "", err
		}
		defer out.Body.Close()
		body, err := io.ReadAll(out.Body)
		return string(body), err
	}
	if err := put(owner, "ours", value, nil); err != nil {
		t.Fatal(err)
	}
	policy := func(text *string) {
		t.Helper()
		if _, err := owner.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: text}); err != nil {
			t.Fatal(err)
		}
	}
	bob, nobody := s3.NewFromConfig(n.user("bob", malotetest.Allow("*", "s3:*"))), s3.NewFromConfig(n.user("nobody", ""))
	root := s3.NewFromConfig(n.OtherRoot(t, "310987654321"))
	refused := func(what string, err error) {
		t.Helper()
		wantError(t, what, err, "AccessDenied", "Access Denied")
		if err != nil && strings.Contains(err.Error(), "because") {
			t.Errorf("%s: a stranger is told why: %v", what, err)
		}
	}
	_, err := get(bob, "ours")
	refused("no policy", err)
	_, err = get(root, "ours")
	refused("no policy, and another account's root", err)
	_, err = get(bob, "absent")
	refused("what is not there", err)
	_, err = root.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket})
	refused("listing by another account's root", err)

	policy(lets(principal(n.guest), `["s3:GetObject","s3:PutObject"]`, "arn:aws:s3:::shared-bucket/*", ""))
	if got, err := get(bob, "ours"); err != nil || got != value {
		t.Errorf("shared: %v", err)
	}
	_, err = get(nobody, "ours")
	refused("not allowed at home", err)
	_, err = get(root, "ours")
	refused("a third account", err)
	_, err = bob.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: aws.String("ours")})
	refused("what is not shared", err)
	_, err = bob.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: lets(principal(n.guest), `"s3:*"`, "arn:aws:s3:::shared-bucket", "")})
	refused("its policy", err)

	policy(lets(principal("310987654321"), `"s3:GetObject"`, "arn:aws:s3:::shared-bucket/*", ""))
	if got, err := get(root, "ours"); err != nil || got != value {
		t.Errorf("shared with an account, and its root user: %v", err)
	}
	_, err = get(bob, "ours")
	refused("shared with another account", err)
	policy(lets(principal(n.guest), `["s3:GetObject","s3:PutObject"]`, "arn:aws:s3:::shared-bucket/*", ""))

	// BucketOwnerEnforced: what the guest writes is the owner's.
	theirs := n.Canary()
	if err := put(bob, "theirs", theirs, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := get(owner, "theirs"); err != nil || got != theirs {
		t.Errorf("the owner reads what the guest wrote: %v", err)
	}
	listed, err := owner.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, FetchOwner: aws.Bool(true)})
	if err != nil || len(listed.Contents) != 2 || *listed.Contents[0].Owner.ID != *listed.Contents[1].Owner.ID {
		t.Errorf("owners of the objects: %v, %v", listed, err)
	}
	policy(lets(principal(n.guest), `"s3:DeleteObject"`, "arn:aws:s3:::shared-bucket/*", ""))
	_, err = get(bob, "theirs")
	refused("what the guest itself wrote, no longer shared", err)

	// Conditions on accounts.
	for account, want := range map[string]bool{n.guest: true, malotetest.Account: false} {
		policy(lets(principal("*"), `"s3:GetObject"`, "arn:aws:s3:::shared-bucket/*", `{"StringEquals":{"aws:PrincipalAccount":"`+account+`"}}`))
		if _, err := get(bob, "ours"); want && err != nil {
			t.Errorf("aws:PrincipalAccount %s: %v", account, err)
		} else if !want {
			refused("aws:PrincipalAccount "+account, err)
		}
	}
	policy(lets(principal(n.guest), `"s3:GetObject"`, "arn:aws:s3:::shared-bucket/*", ""))
	for account, want := range map[string]bool{malotetest.Account: true, n.guest: false} {
		n.grant("bob", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceAccount":"`+account+`"}}}]}`)
		if _, err := get(bob, "ours"); want && err != nil {
			t.Errorf("aws:ResourceAccount %s: %v", account, err)
		} else if !want {
			refused("aws:ResourceAccount "+account, err)
		}
	}
	n.grant("bob", malotetest.Allow("*", "s3:*", "kms:*"))
	_, err = bob.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("ours"), ExpectedBucketOwner: aws.String(n.guest)})
	refused("x-amz-expected-bucket-owner", err)

	// Under a KMS key that has to let the guest in as well; AWS's own never does.
	keys := kms.NewFromConfig(n.Config())
	key, err := keys.CreateKey(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]*string{"managed": nil, "sealed": key.KeyMetadata.Arn} {
		if err := put(owner, name, value, func(in *s3.PutObjectInput) {
			in.ServerSideEncryption, in.SSEKMSKeyId = s3types.ServerSideEncryptionAwsKms, id
		}); err != nil {
			t.Fatal(err)
		}
		_, err = get(bob, name)
		wantError(t, "under a key that is not shared: "+name, err, "AccessDenied", "kms:Decrypt on this resource because")
	}
	text := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["` + malotetest.Account + `","` + n.guest + `"]},"Action":"kms:*","Resource":"*"}]}`
	if _, err := keys.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: key.KeyMetadata.KeyId, Policy: &text}); err != nil {
		t.Fatal(err)
	}
	if got, err := get(bob, "sealed"); err != nil || got != value {
		t.Errorf("under a key that is shared: %v", err)
	}
	_, err = get(bob, "managed")
	wantError(t, "under AWS's key", err, "AccessDenied", "kms:Decrypt on this resource because")
}

// A parameter is shared when it is advanced, by its own policy, and under a key that is.
func TestParameterAcrossAccounts(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t)
	ctx := t.Context()
	owner, keys := ssm.NewFromConfig(n.Config()), kms.NewFromConfig(n.Config())
	key, err := keys.CreateKey(ctx, &kms.CreateKeyInput{Policy: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["` + malotetest.Account + `","` + n.guest + `"]},"Action":"kms:*","Resource":"*"}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	value := n.Canary()
	arn := func(name string) *string {
		return aws.String("arn:aws:ssm:us-east-1:" + malotetest.Account + ":parameter" + name)
	}
	for name, tier := range map[string]ssmtypes.ParameterTier{"/standard": ssmtypes.ParameterTierStandard, "/advanced": ssmtypes.ParameterTierAdvanced} {
		if _, err := owner.PutParameter(ctx, &ssm.PutParameterInput{Name: &name, Value: &value, Type: ssmtypes.ParameterTypeSecureString, Tier: tier, KeyId: key.KeyMetadata.Arn}); err != nil {
			t.Fatal(err)
		}
	}
	bob := ssm.NewFromConfig(n.user("bob", malotetest.Allow("*", "ssm:*", "kms:Decrypt")))
	get := func(name *string) (*ssm.GetParameterOutput, error) {
		return bob.GetParameter(ctx, &ssm.GetParameterInput{Name: name, WithDecryption: aws.Bool(true)})
	}
	for _, name := range []string{"/standard", "/advanced", "/absent"} {
		_, err := get(arn(name))
		wantError(t, "not shared: "+name, err, "AccessDeniedException", "because no resource-based policy allows the ssm:GetParameter action")
	}
	read := func(name string) *string {
		return lets(principal(n.guest), `["ssm:GetParameter","ssm:GetParameters"]`, *arn(name), "")
	}
	_, err = owner.PutResourcePolicy(ctx, &ssm.PutResourcePolicyInput{ResourceArn: arn("/standard"), Policy: read("/standard")})
	wantError(t, "sharing a standard parameter", err, "ResourcePolicyInvalidParameterException", "advanced")
	if _, err := owner.PutResourcePolicy(ctx, &ssm.PutResourcePolicyInput{ResourceArn: arn("/advanced"), Policy: read("/advanced")}); err != nil {
		t.Fatal(err)
	}
	if got, err := get(arn("/advanced")); err != nil || *got.Parameter.Value != value {
		t.Errorf("shared: %v", err)
	}
	_, err = get(aws.String("/advanced"))
	wantError(t, "a name is one's own account's", err, "ParameterNotFound", "")
	n.grant("bob", malotetest.Allow("*", "ssm:*"))
	_, err = get(arn("/advanced"))
	wantError(t, "no right to the key at home", err, "AccessDeniedException", "(Service: AWSKMS; Status Code: 400; Error Code: AccessDeniedException;")
	n.grant("bob", malotetest.Allow("*", "kms:*"))
	_, err = get(arn("/advanced"))
	wantError(t, "no right to the parameter at home", err, "AccessDeniedException", "no identity-based policy allows the ssm:GetParameter action")
}

// CloudWatch Logs uses a key as itself, for a log group of some account: which accounts' it
// may be is for the key's policy to say.
func TestLogGroupsKeyAcrossAccounts(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t)
	ctx := t.Context()
	keys, logs := kms.NewFromConfig(n.Config()), cloudwatchlogs.NewFromConfig(n.admin)
	key, err := keys.CreateKey(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("group")}); err != nil {
		t.Fatal(err)
	}
	associate := func(account string) error {
		t.Helper()
		text := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + malotetest.Account + `"},"Action":"kms:*","Resource":"*"},
			{"Effect":"Allow","Principal":{"Service":"logs.us-east-1.amazonaws.com"},"Action":["kms:Encrypt*","kms:Decrypt*","kms:GenerateDataKey*"],"Resource":"*","Condition":{"StringEquals":{"aws:SourceAccount":"` + account + `"}}}]}`
		if _, err := keys.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: key.KeyMetadata.KeyId, Policy: &text}); err != nil {
			t.Fatal(err)
		}
		_, err := logs.AssociateKmsKey(ctx, &cloudwatchlogs.AssociateKmsKeyInput{LogGroupName: aws.String("group"), KmsKeyId: key.KeyMetadata.Arn})
		return err
	}
	wantError(t, "aws:SourceAccount of the key's owner", associate(malotetest.Account), "InvalidParameterException", "is not allowed to be used with LogGroup")
	if err := associate(n.guest); err != nil {
		t.Errorf("aws:SourceAccount of the group's owner: %v", err)
	}
}
