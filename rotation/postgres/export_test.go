package postgres

// Two thousand log-ins under the race detector, each of 4096 rounds, take minutes.
func init() { rounds = 64 }
