// Package shim hands a container its secret environment without Docker seeing it:
// it serves each container's values on a unix socket of its own, to malote-init,
// the first process of that container.
//
// It promises that values are given to processes of the container they belong to
// and to no other: who connects is known from the kernel (SO_PEERCRED and, where
// there is one, SO_PEERPIDFD), and the process must live in that container's
// cgroup. Values are kept in memory alone; the directory that is mounted into the container
// holds the program and the socket. It does not create containers (see
// engine/docker) nor resolve secrets (see inject).
//
// # Use
//
//	server, err := shim.New(shim.Config{Dir: dir, InitPath: path, Log: log})
//	endpoint, err := server.Open(name, shim.Payload{Env: []string{"PASSWORD=…"}})
//	// create the container with
//	//   Entrypoint: shim.Entrypoint(entrypoint, command), Cmd: none
//	//   Healthcheck.Test: shim.HealthCheck(test)
//	//   a read-only bind mount of endpoint.Dir() at shim.MountPoint
//	endpoint.Bind(containerID) // before it starts
//	…
//	endpoint.Close() // when the container is gone
//
// A container outlives the engine. After a restart, Open with the same name
// serves the directory that the container still has mounted, and Bind names the
// container again. [Server.Close] therefore leaves directories in place, and
// [Server.Sweep] removes those that nobody wants any more.
//
// # In the container
//
//	/.malote/init      the program, mode 0555
//	/.malote/socket    the socket, mode 0666: any user of the container may connect
//
// The mount must not be noexec, so Dir must not be on a file system that is:
// Debian mounts /run so. New checks it.
//
// # Protocol
//
// One exchange on one connection of a unix stream socket. Numbers are unsigned,
// 32 bits, big-endian. The client writes the 14 bytes
//
//	m a l o t e - i n i t SP 1 LF
//
// in which 1 is the protocol's version. The server answers with
//
//	byte 0       0
//	bytes 1–4    the number of variables
//	then for each
//	             its length in bytes
//	             NAME=value, these bytes exactly: no terminator, no escapes
//
// or, if it refuses, with
//
//	byte 0       1
//	bytes 1–4    the length of what follows
//	             the reason, UTF-8, without a line end
//
// and closes. An answer that ends early or has bytes left over is an error. A
// server that does not know the client's version refuses. A client may ask
// again on a new connection: a health check does so each time, and takes the
// environment of the container's first process while nobody listens.
//
// A variable of the answer replaces one of the same name that the container's configuration or image
// sets. No string holds a NUL. [CheckEnv] says what the kernel accepts.
package shim
