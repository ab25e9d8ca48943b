package directory

import "log/slog"

// What holds a secret says its name and nothing else when it is printed or logged by mistake.

func (k AccessKey) String() string          { return "access key " + k.ID }
func (k AccessKey) GoString() string        { return k.String() }
func (k AccessKey) LogValue() slog.Value    { return slog.StringValue(k.String()) }
func (s Session) String() string            { return "session " + s.Name + " of " + s.ID }
func (s Session) GoString() string          { return s.String() }
func (s Session) LogValue() slog.Value      { return slog.StringValue(s.String()) }
func (i Issued) String() string             { return "temporary key " + i.AccessKeyID }
func (i Issued) GoString() string           { return i.String() }
func (i Issued) LogValue() slog.Value       { return slog.StringValue(i.String()) }
func (b Bootstrapped) String() string       { return "access key " + b.AccessKeyID }
func (b Bootstrapped) GoString() string     { return b.String() }
func (b Bootstrapped) LogValue() slog.Value { return slog.StringValue(b.String()) }
func (k tokenKey) String() string           { return "session token key" }
func (k tokenKey) GoString() string         { return k.String() }
func (k tokenKey) LogValue() slog.Value     { return slog.StringValue(k.String()) }

func (c BootstrapConfig) String() string       { return "first start of account " + c.Account }
func (c BootstrapConfig) GoString() string     { return c.String() }
func (c BootstrapConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }
