package secretsmanager

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/aws/smithy-go"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/rotation"
	"github.com/malote/malote/store"
)

// Rotations answers GET …/rotations?SecretId=… with a rotation.History in JSON: who may
// DescribeSecret may know it. The gateway has verified who asks.
func Rotations(s *Service) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "want GET", http.StatusMethodNotAllowed)
			return
		}
		h, err := s.rotations(r)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if err != nil {
			code, message, status := "InternalServiceError", "An internal error occurred.", http.StatusInternalServerError
			if api := smithy.APIError(nil); errors.As(err, &api) {
				code, message, status = api.ErrorCode(), api.ErrorMessage(), http.StatusBadRequest
			} else {
				s.log.ErrorContext(r.Context(), "reading a rotation history failed", "request_id", caller.From(r.Context()).ID, "err", err)
			}
			w.Header().Set("X-Amzn-Errortype", code)
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(map[string]string{"__type": code, "Message": message})
			return
		}
		json.NewEncoder(w).Encode(h)
	})
}

func (s *Service) rotations(r *http.Request) (*rotation.History, error) {
	id := r.URL.Query().Get("SecretId")
	if id == "" {
		return nil, validation("1 validation error detected: Value at 'secretId' failed to satisfy constraint: Member must not be null")
	}
	ctx := r.Context()
	x, err := s.authorizedSecret(ctx, access{action: "secretsmanager:DescribeSecret", secretID: id})
	if err != nil {
		return nil, err
	}
	out := &rotation.History{ARN: x.arn, Name: x.Name, Runs: []rotation.Run{}}
	if x.Rotation == nil {
		return out, nil
	}
	out.Enabled, out.Function, out.Next = x.Rotation.Enabled, x.Rotation.Function, x.Rotation.Next
	err = s.store.View(ctx, func(tx store.Tx) error {
		h, err := s.getHistory(tx, x)
		if err != nil {
			return err
		}
		out.Runs = out.Runs[:0]
		for i := range h.Runs {
			out.Runs = append(out.Runs, h.Runs[i].told(x))
		}
		return nil
	})
	return out, err
}

// told is the run in the words of package rotation.
func (r *run) told(x *secret) rotation.Run {
	t := rotation.Run{
		VersionID: r.Token, Function: r.Function, Kind: "RotateSecret", Started: r.Started, Ended: r.Ended, Outcome: r.Outcome, Reason: r.Reason, Steps: []rotation.Step{},
	}
	switch {
	case r.Test:
		t.Kind = "Test"
	case r.Scheduled:
		t.Kind = "Scheduled"
	}
	if r.Ended.IsZero() {
		t.Outcome = "InProgress"
		if r.Claim == "" && r.Attempt > 1 {
			t.Outcome, t.Again = "Waiting", x.Rotation.At
		}
		if r.Claim == "" && r.WaitsFor != "" {
			t.Outcome, t.Reason, t.Again = "Waiting", r.WaitsFor, x.Rotation.At
		}
	}
	for _, st := range r.Steps {
		told := rotation.Step{Step: st.Step, Attempt: st.Attempt, Started: st.Started, Ended: st.Ended, Outcome: st.Outcome, Reason: st.Reason}
		if told.Outcome == "" {
			told.Outcome = "InProgress"
		}
		t.Steps = append(t.Steps, told)
	}
	return t
}
