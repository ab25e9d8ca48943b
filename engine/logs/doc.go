// Package logs ships what containers print to places that want a credential, without
// Docker seeing it: an option given to a Docker log driver shows in "docker
// inspect", so here the engine is the one that ships.
//
// It promises: a token is in memory alone; the values that a task was given are
// masked before a line leaves or is kept; what arrives here is shipped, however long
// the far end is away, in the order in which it was printed; and an option that is not
// understood is refused by name. awslogs is shipped from here as well: Docker's own
// driver would want the execution role's credentials. It does not run containers (see engine/docker), nor
// forward for drivers without secrets: those go to Docker as they are.
//
// # The way of a line
//
//	container → dockerd → a unix socket, by Docker's own fluentd driver
//	          → joined if Docker split it → masked → spool → splunk, fluentd, awslogs or the task's log router
//
// The container gets the driver and options of [Stream.Docker]: fluentd, with sub-second
// times, without Docker's own copy on disk, and not asynchronous, since then Docker drops
// what it has not sent yet when a container ends. The user's options "tag",
// "labels", "labels-regex", "env", "env-regex", "mode" and "max-buffer-size" go to
// Docker with it, which then does with them what it does for any driver. Of the
// environment it knows what is not secret.
//
// # Masking
//
// Each value of six bytes or more, and each line of a value of several lines, is
// replaced by [sealed]: as it is, escaped as JSON does, encoded for a URL, in hex,
// and in base64 at any of the three alignments that it may have within a longer text.
// Shorter values are not masked: they would be found everywhere.
//
// # When the far end is away
//
// Lines wait in memory (1 MiB for each container), then in files of the spool, encrypted
// with AES-256-GCM under a key that exists in memory alone (256 MiB for each
// container). When those are full nothing more is read from Docker, and the container
// waits when it prints, as it does for any driver in Docker's mode "blocking"; with the
// option mode=non-blocking Docker drops lines instead, past max-buffer-size. The same happens while no engine
// runs: Docker connects again when there is one.
//
// What waits does not survive the end of the process, since its key does not. A stream
// that is closed is shipped to its end in the background; [Forwarder.Close] waits for
// it as long as its context allows, and says how many lines it gave up.
//
// A line longer than 1 MiB, for awslogs than 256 KiB, is shipped in pieces.
package logs
