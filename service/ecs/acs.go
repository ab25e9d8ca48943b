package ecs

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/ecs/taskdef"
	"github.com/malote/malote/store"
)

const (
	heartbeat = 15 * time.Second
	// renewBefore: a session is renewed with half of its hour left: time enough for a control
	// plane to be away.
	renewBefore  = 30 * time.Minute
	writeTimeout = 30 * time.Second
	maxNews      = 1 << 20
)

// Stream serves what package acs describes: GET …/acs, POST …/acs/health, …/acs/secrets and
// …/acs/refreshes, and …/acs/sessions.
// The gateway has verified who asks; ecs:Poll and ecs:StartTelemetrySession on the container
// instance decide what is told. A stream ends with its request's context.
func Stream(s *Service) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		switch path := strings.TrimSuffix(r.URL.Path, "/"); {
		case strings.HasSuffix(path, "/acs/health") && r.Method == http.MethodPost:
			if err = s.health(r); err == nil {
				w.WriteHeader(http.StatusNoContent)
			}
		case strings.HasSuffix(path, "/acs/secrets") && r.Method == http.MethodPost:
			if err = s.secrets(r); err == nil {
				w.WriteHeader(http.StatusNoContent)
			}
		case strings.HasSuffix(path, "/acs/refreshes") && r.Method == http.MethodPost:
			if err = s.refreshes(r); err == nil {
				w.WriteHeader(http.StatusNoContent)
			}
		case strings.Contains(path, "/acs/sessions/") && (r.Method == http.MethodGet || r.Method == http.MethodPost):
			err = s.serveSession(w, r)
		case strings.HasSuffix(path, "/acs") && r.Method == http.MethodGet:
			err = s.poll(w, r)
		default:
			http.NotFound(w, r)
		}
		if err != nil {
			s.answerError(w, r, err)
		}
	})
}

// answerError writes an error as the JSON protocol of ECS does.
func (s *Service) answerError(w http.ResponseWriter, r *http.Request, err error) {
	code, message, status := "ServerException", "An internal error occurred.", http.StatusInternalServerError
	if api := smithy.APIError(nil); errors.As(err, &api) {
		code, message, status = api.ErrorCode(), api.ErrorMessage(), http.StatusBadRequest
	} else {
		s.log.ErrorContext(r.Context(), "acs request failed", "request_id", caller.From(r.Context()).ID, "err", err)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Errortype", code)
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message})
}

// health records what containers' health checks say.
func (s *Service) health(r *http.Request) error {
	ctx := r.Context()
	sc := scopeOf(ctx)
	d := json.NewDecoder(io.LimitReader(r.Body, maxNews))
	for {
		var h acs.Health
		if err := d.Decode(&h); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return invalidParameter("The health report is not valid JSON.")
		}
		cluster, id, err := s.ofTask(ctx, sc, h.TaskARN)
		if err != nil {
			return err
		}
		if err := s.store.Update(ctx, func(tx store.Tx) error { return s.setHealth(tx, sc, cluster, id, h.Containers) }); err != nil {
			return err
		}
	}
}

// ofTask finds the task that an engine has news of, and asks whether it may tell them.
func (s *Service) ofTask(ctx context.Context, sc scope, arn string) (cluster, id string, err error) {
	_, resource, ok := splitARN(arn)
	parts := strings.Split(resource, "/")
	if !ok || len(parts) != 3 || parts[0] != "task" {
		return "", "", invalidParameter("Invalid identifier: %s", arn)
	}
	cluster, id = parts[1], parts[2]
	var where string
	var owned error
	if err := s.store.View(ctx, func(tx store.Tx) error {
		t, err := s.findTask(tx, sc, cluster, id)
		if err != nil || t == nil {
			return err
		}
		where = t.Instance
		owned, err = s.owned(ctx, tx, sc, t)
		return err
	}); err != nil {
		return "", "", err
	}
	if err := s.authz.Authorize(ctx, &authz.Access{
		Action: "ecs:StartTelemetrySession", Resource: sc.instanceARN(cluster, where),
		Conditions: map[string][]string{"ecs:cluster": {sc.clusterARN(cluster)}},
	}); err != nil {
		return "", "", err
	}
	return cluster, id, owned
}

// owned refuses who did not register the instance that a task is on. It may be gone.
func (s *Service) owned(ctx context.Context, tx store.Tx, sc scope, t *task) (refusal, err error) {
	i, err := s.instance(tx, sc, t.Cluster, t.Instance)
	if err != nil || i == nil {
		return nil, err
	}
	return i.owned(ctx, sc), nil
}

// secrets records which versions of secrets a task was given.
func (s *Service) secrets(r *http.Request) error {
	ctx := r.Context()
	sc := scopeOf(ctx)
	var news acs.Secrets
	if err := json.NewDecoder(io.LimitReader(r.Body, maxNews)).Decode(&news); err != nil {
		return invalidParameter("The report of secrets is not valid JSON.")
	}
	cluster, id, err := s.ofTask(ctx, sc, news.TaskARN)
	if err != nil {
		return err
	}
	from := caller.From(ctx).SourceIP
	return s.store.Update(ctx, func(tx store.Tx) error {
		t, err := s.findTask(tx, sc, cluster, id)
		if err != nil || t == nil || slices.Equal(t.Held, news.Held) && t.HeldBy == from {
			return err
		}
		t = copyOf(t)
		t.Held, t.HeldBy = news.Held, from
		if err := s.pinRollout(tx, sc, t); err != nil {
			return err
		}
		return s.putTask(tx, sc, t)
	})
}

func (s *Service) setHealth(tx store.Tx, sc scope, cluster, id string, containers map[string]types.HealthStatus) error {
	t, err := s.findTask(tx, sc, cluster, id)
	if err != nil || t == nil || *t.Task.LastStatus == "STOPPED" {
		return err
	}
	d, err := s.definition(tx, sc, definitionRef{t.Family, t.Revision})
	if err != nil {
		return err
	}
	t = copyOf(t)
	changed := false
	for i := range t.Task.Containers {
		c := &t.Task.Containers[i]
		if status, ok := containers[aws.ToString(c.Name)]; ok && status != c.HealthStatus {
			switch status {
			case types.HealthStatusHealthy, types.HealthStatusUnhealthy, types.HealthStatusUnknown:
				c.HealthStatus, changed = status, true
			}
		}
	}
	if !changed {
		return nil
	}
	if d != nil {
		t.Task.HealthStatus = taskHealth(t, &d.Definition)
	}
	return s.changed(tx, sc, t)
}

// taskHealth is that of the essential containers that have a check: UNHEALTHY if one
// is, else UNKNOWN if one is, else HEALTHY.
func taskHealth(t *task, d *types.TaskDefinition) types.HealthStatus {
	health := map[string]types.HealthStatus{}
	for _, c := range t.Task.Containers {
		health[aws.ToString(c.Name)] = c.HealthStatus
	}
	result := types.HealthStatusUnknown
	checked := false
	for i := range d.ContainerDefinitions {
		c := &d.ContainerDefinitions[i]
		if c.HealthCheck == nil || !taskdef.Essential(c) {
			continue
		}
		switch status := health[*c.Name]; {
		case status == types.HealthStatusUnhealthy:
			return status
		case status != types.HealthStatusHealthy:
			result = types.HealthStatusUnknown
		case !checked:
			result = status
		}
		checked = true
	}
	return result
}

// poll tells one engine what should run on its instance for as long as it listens.
func (s *Service) poll(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	query := r.URL.Query()
	sc, cluster, id, err := s.instanceRef(ctx, "ecs:Poll", value(query, "cluster"), query.Get("containerInstance"))
	if err != nil {
		return err
	}
	if err := s.store.Update(ctx, func(tx store.Tx) error {
		i, err := s.instance(tx, sc, cluster, id)
		if err != nil {
			return err
		}
		if i == nil {
			return instanceNotFound()
		}
		if err := i.owned(ctx, sc); err != nil {
			return err
		}
		known, err := s.connected(tx, sc, i)
		if err != nil {
			return err
		}
		if !known {
			if err := s.wakeCluster(tx, sc, cluster); err != nil {
				return err
			}
		}
		return s.sawInstance(tx, sc, cluster, id)
	}); err != nil {
		return err
	}

	st := &stream{
		s: s, sc: sc, cluster: cluster, id: id, out: json.NewEncoder(w), w: http.NewResponseController(w),
		seen: s.now(), told: map[string]*told{},
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	s.log.InfoContext(ctx, "engine connected", "instance", sc.instanceARN(cluster, id))
	err = st.run(ctx)
	s.log.InfoContext(ctx, "engine disconnected", "instance", sc.instanceARN(cluster, id), "err", err)
	return nil // the answer has begun: its end says it all
}

func value(q url.Values, name string) *string {
	if !q.Has(name) {
		return nil
	}
	return aws.String(q.Get(name))
}

// stream is one connection of an engine. Its goroutine owns it.
type stream struct {
	s           *Service
	sc          scope
	cluster, id string
	out         *json.Encoder
	w           *http.ResponseController
	seen        time.Time
	told        map[string]*told // by task id
	heard       map[string]bool  // sessions
	retry       bool             // something could not be told yet
	synced      bool
}

// told is what the engine has heard of a task on this connection.
type told struct {
	arn         string
	asker       caller.Task // what the audit is told of it
	stop        bool
	refresh     string // the id of the last
	credentials []*acs.Credentials
}

var errGone = errors.New("the container instance was deregistered")

func (st *stream) run(ctx context.Context) error {
	nudges := st.s.store.Watch(ctx, st.sc.prefix("placement", st.cluster, st.id))
	commands := st.s.store.Watch(ctx, st.sc.prefix("execution", st.cluster, st.id))
	if err := st.sync(ctx); err != nil {
		return err
	}
	if err := st.executions(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(st.s.heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case _, ok := <-nudges:
			if !ok {
				return errors.New("the store's watch ended")
			}
			if err := st.sync(ctx); err != nil {
				return err
			}
		case _, ok := <-commands:
			if !ok {
				return errors.New("the store's watch ended")
			}
			if err := st.executions(ctx); err != nil {
				return err
			}
		case <-tick.C:
			if err := st.beat(ctx); err != nil {
				return err
			}
		}
	}
}

func (st *stream) send(m *acs.Message) error {
	// A writer in the same process knows no deadlines.
	_ = st.w.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := st.out.Encode(m); err != nil {
		return err
	}
	return st.w.Flush()
}

// beat is what time brings: a sign of life each way, fresh credentials, another try.
func (st *stream) beat(ctx context.Context) error {
	if err := st.send(&acs.Message{}); err != nil {
		return err
	}
	if now := st.s.now(); now.Sub(st.seen) >= seenEvery {
		if err := st.s.store.Update(ctx, func(tx store.Tx) error {
			i, err := st.s.instance(tx, st.sc, st.cluster, st.id)
			if err == nil && i == nil {
				err = errGone
			}
			if err != nil {
				return err
			}
			return st.s.sawInstance(tx, st.sc, st.cluster, st.id)
		}); err != nil {
			return err
		}
		st.seen = now
	}
	if err := st.renew(ctx); err != nil {
		return err
	}
	if st.retry {
		return st.sync(ctx)
	}
	return nil
}

// renew sends new credentials for those that will expire.
func (st *stream) renew(ctx context.Context) error {
	for id, t := range st.told {
		for i, c := range t.credentials {
			if c.Expiration.Sub(st.s.now()) > renewBefore {
				continue
			}
			fresh, err := st.assume(ctx, t.asker, id, c.RoleType, c.RoleARN)
			if err != nil {
				// The old ones still serve a while, and the next beat tries again.
				st.s.log.WarnContext(ctx, "renewing a task role's credentials failed", "task", t.arn, "role", c.RoleARN, "err", err)
				continue
			}
			if err := st.send(&acs.Message{Credentials: fresh}); err != nil {
				return err
			}
			t.credentials[i] = fresh
		}
	}
	return nil
}

// sync tells what the engine has not heard on this connection.
func (st *stream) sync(ctx context.Context) error {
	st.retry = false
	var placed []*placement
	if err := st.s.store.View(ctx, func(tx store.Tx) error {
		placed = nil
		for row, err := range st.s.placements.Scan(tx, st.sc.prefix("placement", st.cluster, st.id), "") {
			if err != nil {
				return err
			}
			placed = append(placed, row.Value)
		}
		return nil
	}); err != nil {
		return err
	}
	current := map[string]bool{}
	for _, p := range placed {
		current[p.Task] = true
		t := st.told[p.Task]
		if p.Stop {
			if t == nil {
				t = &told{arn: st.sc.taskARN(st.cluster, p.Task)}
				st.told[p.Task] = t
			}
			if !t.stop {
				if err := st.send(&acs.Message{Stop: &acs.Stop{TaskARN: t.arn, Reason: p.Reason}}); err != nil {
					return err
				}
				t.stop = true
			}
			continue
		}
		if t == nil {
			if err := st.tell(ctx, p); err != nil {
				return err
			}
			t = st.told[p.Task]
		}
		if p.Refresh != nil && t != nil && t.refresh != p.Refresh.ID {
			if err := st.send(&acs.Message{Refresh: &p.Refresh.Refresh}); err != nil {
				return err
			}
			t.refresh = p.Refresh.ID
		}
	}
	for id := range st.told {
		if !current[id] {
			delete(st.told, id)
		}
	}
	if st.synced || st.retry {
		return nil
	}
	// An engine ends what it was not told of by now: nothing may be missing.
	st.synced = true
	return st.send(&acs.Message{Synced: true})
}

// tell sends a task with credentials for its roles. A task whose role cannot be assumed
// has failed to start; one that runs already goes on without fresh ones.
func (st *stream) tell(ctx context.Context, p *placement) error {
	var t *task
	var d *definition
	if err := st.s.store.View(ctx, func(tx store.Tx) (err error) {
		if t, err = st.s.findTask(tx, st.sc, st.cluster, p.Task); err != nil || t == nil {
			return err
		}
		d, err = st.s.definition(tx, st.sc, definitionRef{p.Family, p.Revision})
		return err
	}); err != nil {
		return err
	}
	if t == nil {
		return nil
	}
	if d == nil {
		return st.fail(ctx, p.Task, "Task failed to start: its task definition no longer exists.")
	}
	message := &acs.Task{
		ARN: *t.Task.TaskArn, ClusterARN: *t.Task.ClusterArn, Definition: d.Definition,
		Overrides: t.Task.Overrides, Tags: t.Task.Tags, Group: aws.ToString(t.Task.Group), StartedBy: aws.ToString(t.Task.StartedBy),
		LaunchType: t.Task.LaunchType, CreatedAt: *t.Task.CreatedAt, EnableExecuteCommand: t.Task.EnableExecuteCommand, Pins: t.Pins,
		Region: st.sc.region, Account: st.sc.account, Volumes: t.Volumes,
	}
	record := &told{arn: message.ARN, asker: askerOf(t, d)}
	if storage := t.Task.FargateEphemeralStorage; storage != nil {
		message.StorageKMSKeyID = aws.ToString(storage.KmsKeyId)
		if rank(aws.ToString(t.Task.LastStatus)) < rank("RUNNING") { // once it runs, the storage is there
			key, err := st.storageKey(ctx, t, record.asker)
			if api := smithy.APIError(nil); err != nil && errors.As(err, &api) {
				if !t.Delivered {
					return st.fail(ctx, t.ID, storageFailure(message.StorageKMSKeyID, api))
				}
				st.s.log.WarnContext(ctx, "the key of a task's storage cannot be made again", "task", message.ARN, "key", message.StorageKMSKeyID, "err", err)
			} else if err != nil {
				st.s.log.ErrorContext(ctx, "making the key of a task's storage", "task", message.ARN, "key", message.StorageKMSKeyID, "err", err)
				st.retry = true
				return nil
			}
			message.StorageKey = key
			defer clear(key)
		}
	}
	for _, role := range []struct {
		kind acs.RoleType
		arn  string
		to   **acs.Credentials
	}{
		{acs.TaskExecution, t.ExecutionRole, &message.ExecutionRole},
		{acs.TaskApplication, t.TaskRole, &message.TaskRole},
		{acs.TaskInfrastructure, t.InfrastructureRole, &message.InfrastructureRole},
	} {
		if role.arn == "" {
			continue
		}
		c, err := st.assume(ctx, record.asker, t.ID, role.kind, role.arn)
		if api := smithy.APIError(nil); err != nil && errors.As(err, &api) {
			if !t.Delivered {
				return st.fail(ctx, t.ID, assumeFailure(role.kind, role.arn, api))
			}
			st.s.log.WarnContext(ctx, "a running task's role cannot be assumed", "task", message.ARN, "role", role.arn, "err", err)
			if role.kind != acs.TaskInfrastructure { // asked for again by renew
				record.credentials = append(record.credentials, &acs.Credentials{TaskARN: message.ARN, RoleType: role.kind, RoleARN: role.arn})
			}
			continue
		} else if err != nil {
			st.s.log.ErrorContext(ctx, "assuming a task's role", "task", message.ARN, "role", role.arn, "err", err)
			st.retry = true
			return nil
		}
		*role.to = c
		if role.kind != acs.TaskInfrastructure { // which is of no use once the volumes are there
			record.credentials = append(record.credentials, c)
		}
	}
	wanted := true
	if !t.Delivered {
		if err := st.s.store.Update(ctx, func(tx store.Tx) error {
			now, err := st.s.findTask(tx, st.sc, st.cluster, t.ID)
			if err != nil {
				return err
			}
			if wanted = now != nil && *now.Task.DesiredStatus == "RUNNING"; !wanted || now.Delivered {
				return nil
			}
			now = copyOf(now)
			now.Delivered = true
			now.advance("PENDING")
			at := st.s.now().UTC()
			now.Task.Connectivity, now.Task.ConnectivityAt = types.ConnectivityConnected, &at
			for i := range now.Task.Attachments {
				now.Task.Attachments[i].Status = aws.String("ATTACHED")
			}
			return st.s.putTask(tx, st.sc, now)
		}); err != nil {
			return err
		}
	}
	if !wanted {
		return nil
	}
	if err := st.send(&acs.Message{Task: message}); err != nil {
		return err
	}
	st.told[t.ID] = record
	return nil
}

// fail ends a task that no engine has heard of.
func (st *stream) fail(ctx context.Context, id, reason string) error {
	return st.s.store.Update(ctx, func(tx store.Tx) error {
		t, err := st.s.findTask(tx, st.sc, st.cluster, id)
		if err != nil || t == nil || *t.Task.LastStatus == "STOPPED" {
			return err
		}
		t = copyOf(t)
		t.Task.StopCode, t.Task.StoppedReason = types.TaskStopCodeTaskFailedToStart, aws.String(shorten(reason))
		return st.s.ended(tx, st.sc, t)
	})
}

const (
	tasksPrincipal          = "ecs-tasks.amazonaws.com"
	infrastructurePrincipal = "ecs.amazonaws.com"
)

// principal is whom a role of that kind has to trust.
func principal(kind acs.RoleType) string {
	if kind == acs.TaskInfrastructure {
		return infrastructurePrincipal
	}
	return tasksPrincipal
}

func assumeFailure(kind acs.RoleType, role string, err smithy.APIError) string {
	member := map[acs.RoleType]string{
		acs.TaskExecution: "executionRoleArn", acs.TaskApplication: "taskRoleArn", acs.TaskInfrastructure: "managedEBSVolume.roleArn",
	}[kind]
	return "ECS was unable to assume the role '" + role + "' that was provided for this task. " +
		"Please verify that the role being passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this role. " +
		"The role (" + member + ") must exist, and its trust policy must allow sts:AssumeRole to the service " + principal(kind) + ": " +
		err.ErrorCode() + ": " + err.ErrorMessage()
}

// askerOf is what the audit is told of a task whenever it asks for something.
func askerOf(t *task, d *definition) caller.Task {
	asker := caller.Task{
		ARN: *t.Task.TaskArn, Definition: aws.ToString(t.Task.TaskDefinitionArn), Service: t.Service,
	}
	if t.Rollout != "" {
		asker.Deployment = deploymentID(t.Rollout)
	}
	for i := range d.Definition.ContainerDefinitions {
		asker.Containers = append(asker.Containers, aws.ToString(d.Definition.ContainerDefinitions[i].Name))
	}
	return asker
}

// roleNames are how the audit calls a task's roles.
var roleNames = map[acs.RoleType]string{acs.TaskExecution: "execution", acs.TaskApplication: "task", acs.TaskInfrastructure: "infrastructure"}

// assume makes credentials for a role of a task, as ECS, under the task's id.
func (st *stream) assume(ctx context.Context, asker caller.Task, id string, kind acs.RoleType, role string) (*acs.Credentials, error) {
	taskARN := asker.ARN
	asker.Role = roleNames[kind]
	ctx = caller.With(ctx, &caller.Request{
		ID: newUUID(), Region: st.sc.region, Service: "sts", Operation: "AssumeRole", Time: st.s.now(), Secure: true,
		SourceARN: taskARN, Task: &asker,
		Principal: &caller.Principal{
			Type: caller.Service, Service: principal(kind), Account: st.sc.account,
			ARN: principal(kind), ID: principal(kind),
		},
	})
	out, err := st.s.roles.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String(role), RoleSessionName: aws.String(id)})
	if err != nil {
		return nil, err
	}
	return &acs.Credentials{
		TaskARN: taskARN, RoleType: kind, RoleARN: role,
		AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey,
		SessionToken: *out.Credentials.SessionToken, Expiration: *out.Credentials.Expiration,
	}, nil
}
