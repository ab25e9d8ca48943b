package engine

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
)

// record is what an engine writes down of a task so that the next one can go on with it:
// no credentials and no values.
type record struct {
	Task       acs.Task
	Containers []containerRecord
	Stop       bool               `json:",omitempty"`
	Reason     string             `json:",omitempty"`
	Code       types.TaskStopCode `json:",omitempty"`
	Cleaned    bool               `json:",omitempty"` // only the report is missing
	Ran        bool               `json:",omitempty"`
	// Refresh is to be done, or with Refreshed was done, and failed if there is a Failure.
	Refresh   *acs.Refresh `json:",omitempty"`
	Refreshed bool         `json:",omitempty"`
	Failure   string       `json:",omitempty"`
	// Former are the last versions that containers had before or were to have, oldest first.
	Former []former `json:",omitempty"`

	PullStarted, PullStopped, ExecutionStopped time.Time

	found bool // by an engine that did not begin the task

	mu    sync.Mutex // guards saved and Former, and Containers against readers in other goroutines than run
	saved []byte
}

type containerRecord struct {
	Name      string
	ID        string `json:",omitempty"`
	Digest    string `json:",omitempty"`
	Started   time.Time
	Stopped   bool   `json:",omitempty"`
	ExitCode  *int32 `json:",omitempty"`
	Reason    string `json:",omitempty"`
	Restarts  int    `json:",omitempty"`
	Restarted time.Time
	Ports     []types.NetworkBinding `json:",omitempty"`
	Versions  map[string]string      `json:",omitempty"`
}

func (t *task) recordPath() string {
	return filepath.Join(t.engine.recordDir(), taskID(t.work.ARN)+".json")
}

// update writes down where the task is now, if that is news.
func (r *record) update(t *task) {
	s := &t.state
	t.mu.Lock()
	known := t.resolved
	t.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Stop, r.Reason, r.Code, r.Ran, r.Cleaned = s.stop, s.reason, s.code, s.ran, s.cleaned == done
	r.PullStarted, r.PullStopped, r.ExecutionStopped = s.pullStarted, s.pullStopped, s.executionStopped
	r.Refresh, r.Refreshed, r.Failure = s.refresh.last, s.refresh.is == done, s.refresh.failure
	if s.refresh.next != nil {
		r.Refresh, r.Refreshed, r.Failure = s.refresh.next, false, ""
	}
	old := r.Containers
	r.Containers = nil
	for i, c := range s.containers {
		n := containerRecord{
			Name: c.name, ID: c.id, Digest: c.digest, Started: c.started, Stopped: c.phase == stopped, ExitCode: c.exitCode,
			Reason: c.reason, Restarts: c.restarts, Restarted: c.restarted, Ports: c.ports,
		}
		if known != nil && known.versions != nil {
			n.Versions = known.versions[c.name]
		} else if i < len(old) {
			n.Versions = old[i].Versions
		}
		r.Containers = append(r.Containers, n)
	}
	r.save(t)
}

// save writes it down, if that is news. It needs r.mu.
func (r *record) save(t *task) {
	b, err := json.Marshal(r)
	if err == nil && !slices.Equal(b, r.saved) {
		if err = writeFile(t.recordPath(), b); err == nil {
			r.saved = b
		}
	}
	if err != nil {
		t.log.Error("writing down a task's state", "err", err)
	}
}

func (r *record) remove(t *task) {
	if err := os.Remove(t.recordPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.log.Error("forgetting a task's state", "err", err)
	}
}

// given is the version of each secret that a container was given. It is not found when the
// container was made by nobody yet, or by this engine.
func (r *record) given(container string) (versions map[string]string, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.found {
		return nil, false
	}
	for _, c := range r.Containers {
		if c.Name == container && c.ID != "" {
			return c.Versions, true
		}
	}
	return nil, false
}

// allStarted reports whether nothing remains to be created.
func (r *record) allStarted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.Containers {
		if c.ID == "" && !c.Stopped {
			return false
		}
	}
	return len(r.Containers) > 0
}

// restore makes a task's state what was written down. A container that was created but
// perhaps never started is taken for none: recovery removes those.
func (r *record) restore(t *task) {
	s := &t.state
	s.stop, s.reason, s.code, s.ran = r.Stop, r.Reason, r.Code, r.Ran
	s.pullStarted, s.pullStopped, s.executionStopped = r.PullStarted, r.PullStopped, r.ExecutionStopped
	if r.Cleaned {
		s.cleaned = done
	}
	if r.Refreshed {
		s.refresh = refresh{last: r.Refresh, is: done, failure: r.Failure}
	} else {
		s.refresh.next = r.Refresh // once more, if it was under way
	}
	for _, c := range r.Containers {
		i := t.index(c.Name)
		if i < 0 || i >= len(s.containers) {
			continue
		}
		to := &s.containers[i]
		to.id, to.digest, to.started, to.exitCode, to.reason = c.ID, c.Digest, c.Started, c.ExitCode, c.Reason
		to.restarts, to.restarted, to.ports = c.Restarts, c.Restarted, c.Ports
		switch {
		case c.Stopped:
			to.phase = stopped
		case c.ID != "":
			to.phase = running // or so it was; a look will tell
		}
		if c.ID != "" {
			t.ids[c.Name] = c.ID
		}
	}
}

// unfinished is what a file is called until it is whole.
const unfinished = ".new-*"

// writeFile replaces a file in one step.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), unfinished)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// readRecords reads what an earlier engine remembered, and removes what one that was killed
// had not finished.
func readRecords(dir string) ([]*record, error) {
	halves, err := filepath.Glob(filepath.Join(dir, unfinished))
	if err != nil {
		return nil, err
	}
	for _, half := range halves {
		if err := os.Remove(half); err != nil {
			return nil, err
		}
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var records []*record
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		r := &record{found: true, saved: b}
		if err := json.Unmarshal(b, r); err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

// recordOf makes a record of a task of which only containers are left, as after a boot.
func recordOf(work *acs.Task) *record {
	r := &record{Task: *work, found: true}
	r.Task.ExecutionRole, r.Task.TaskRole, r.Task.InfrastructureRole, r.Task.StorageKey = nil, nil, nil, nil
	for _, def := range work.Definition.ContainerDefinitions {
		r.Containers = append(r.Containers, containerRecord{Name: aws.ToString(def.Name)})
	}
	return r
}
