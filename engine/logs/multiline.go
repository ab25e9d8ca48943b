package logs

import (
	"regexp"
	"strings"
	"sync"
	"time"
)

// multiline joins lines to messages: one begins at a line that start matches, and has the
// lines that follow. One that gets nothing more for a while, or is too long, goes as it is.
type multiline struct {
	start *regexp.Regexp

	mu    sync.Mutex // held while a message is kept, so that they keep their order
	have  bool
	first entry
	text  strings.Builder
	timer *time.Timer
}

// multilinePatience is how long a message waits for its next line: as in Docker's driver.
const multilinePatience = 5 * time.Second

// add takes a line and gives messages that are complete to keep.
func (m *multiline) add(e entry, keep func(entry) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	if m.have && (m.start.MatchString(e.Line) || m.text.Len()+1+len(e.Line) > maxAwslogsLen) {
		err = m.flushLocked(keep)
	}
	if m.have {
		m.text.WriteByte('\n')
		m.text.WriteString(e.Line)
		m.timer.Reset(multilinePatience)
		return err
	}
	m.have, m.first = true, e
	m.text.WriteString(e.Line)
	if m.timer == nil {
		m.timer = time.AfterFunc(multilinePatience, func() { m.flush(keep) })
	} else {
		m.timer.Reset(multilinePatience)
	}
	return err
}

// flush keeps the message that waits.
func (m *multiline) flush(keep func(entry) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.flushLocked(keep)
}

// last is flush for the end of the process: it does not wait for one who waits for the far end.
func (m *multiline) last(keep func(entry) error) {
	if m.mu.TryLock() {
		defer m.mu.Unlock()
		m.flushLocked(keep)
	}
}

func (m *multiline) flushLocked(keep func(entry) error) error {
	if !m.have {
		return nil
	}
	m.timer.Stop()
	e := m.first
	e.Line = m.text.String()
	m.have, m.first = false, entry{}
	m.text.Reset()
	return keep(e)
}

// datetimeCodes are what awslogs-datetime-format may have.
//
// https://docs.docker.com/engine/logging/drivers/awslogs/#awslogs-datetime-format
var datetimeCodes = map[string]string{
	"%a": "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)",
	"%A": "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)",
	"%w": "[0-6]",
	"%d": "(?:0[1-9]|[12][0-9]|3[01])",
	"%b": "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)",
	"%B": "(?:January|February|March|April|May|June|July|August|September|October|November|December)",
	"%m": "(?:0[1-9]|1[0-2])",
	"%Y": `\d{4}`,
	"%y": `\d{2}`,
	"%H": "(?:[01][0-9]|2[0-3])",
	"%I": "(?:0[0-9]|1[0-2])",
	"%p": "[AP]M",
	"%M": "[0-5][0-9]",
	"%S": "[0-5][0-9]",
	"%L": `\d{3}`,
	"%f": `\d{6}`,
	"%z": `[+-]\d{4}`,
	"%Z": "[A-Z]{1,4}T",
	"%j": "(?:[0-2][0-9][0-9]|3[0-5][0-9]|36[0-6])",
	"%%": "%",
}

var datetimeCode = regexp.MustCompile("%.")

// datetime is the regular expression of a format. What is not a code is one already.
func datetime(format string) string {
	return datetimeCode.ReplaceAllStringFunc(format, func(code string) string {
		if text, ok := datetimeCodes[code]; ok {
			return text
		}
		return code
	})
}
