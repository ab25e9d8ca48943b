// Package enginetest gives tests a real Docker Engine and images to run on it
// where no image can be pulled: each is built from scratch around a static Go
// program.
//
// It promises that whatever it makes is removed when the test ends, and that a
// test which needs Docker fails without one, unless MALOTE_TEST_WITHOUT names
// "docker".
//
// # The program
//
// Every image holds the program at /app. Its arguments are verbs, run in order
// and separated by "then"; the first that fails ends it with status 1:
//
//	env [NAME…]            print "NAME sha256 length" of each variable, sorted; of those named, "NAME absent"
//	check NAME SHA256      fail unless the variable's value has this hash
//	print TEXT…            a line on stdout
//	warn TEXT…             a line on stderr
//	burst N SIZE           N numbered lines of SIZE bytes on stdout
//	printenv NAME          the value itself, and a newline, on stdout: for tests of masking
//	argv …                 print os.Args as JSON; takes the rest of the arguments
//	id                     print pid, uid, gid, cwd, ignored and blocked signals
//	exit N                 end with status N
//	sleep DURATION         as time.ParseDuration
//	trap N                 print "ready", wait for SIGTERM, print "terminated", end with status N
//	reload PATH            print "ready"; at each SIGHUP print "reloaded" and what sum does; end at SIGTERM
//	write PATH TEXT        make a file; missing directories too
//	writeenv PATH NAME     make a file of a variable's value
//	writefrom PATH FILE    copy a file
//	cat PATH               its content on stdout
//	sum PATH               print "PATH sha256 length mode"
//	wait PATH              wait for a file, 30 seconds at most
//	serve ADDRESS          HTTP until SIGTERM: /env/NAME answers the value's hash, / answers "ok",
//	                       /login logs in at the Redis of $REDIS as $USERNAME with $PASSWORD; after SIGTERM it serves for $LINGER more
//	get URL                HTTP GET; print the status code and the body
//	fetch URL N            wait until GET answers status N, 30 seconds at most
//	socket PATH            speak malote-init's protocol to a socket; print "refused" or "received N"
//
// It is also /bin/sh if [Image.Shell] says so: "sh -c 'VERB ARGS…'" splits at
// spaces, and replaces a word $NAME by the variable's value.
//
// Images with [Image.SDK] also hold /aws, which calls AWS through nothing but the SDK's
// default chain: "identity" prints the caller's ARN, "secret ID" the hash and
// length of a secret's string, "parameter NAME" those of a parameter; "lambda" serves a rotation function at port
// 8080 as Lambda's runtime interface emulator does.
//
// Images with [Image.Router] also hold /router, which with the path of a configuration, and
// perhaps a time to wait first, is a log router: it prints "read PATH" of each file of the
// configuration, "option NAME SHA256" for each value that it takes from a variable, and
// "routing as UID" when it listens; then "TAG JSON" of each record that it is sent, with what
// the configuration adds to it; and "terminated" at SIGTERM.
package enginetest
