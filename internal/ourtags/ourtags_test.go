package ourtags

import (
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ key, value, want string }{
		{"team", "anything", ""},
		{"malote", "anything", ""},
		{OnSecretChange, "redeploy", ""},
		{OnSecretChange, "refresh", ""},
		{OnSecretChange, "Redeploy", "off, alert, redeploy, refresh"},
		{PinSecrets, "deployment", ""},
		{PinSecrets, "", "off, deployment"},
		{WaitForTasks, "90m", ""},
		{WaitForTasks, "off", ""},
		{WaitForTasks, "168h", ""},
		{WaitForTasks, "169h", "1s to 168h"},
		{WaitForTasks, "0s", "1s to 168h"},
		{WaitForTasks, "-1h", "1s to 168h"},
		{WaitForTasks, "30", "1s to 168h"},
		{"malote:wait-for-task", "1h", WaitForTasks},
	} {
		err := Check(tt.key, tt.value)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Check(%q, %q) = %v, want %q", tt.key, tt.value, err, tt.want)
		}
	}
	if d, err := Wait("1h30m"); err != nil || d != 90*time.Minute {
		t.Errorf("Wait = %v, %v", d, err)
	}
}
