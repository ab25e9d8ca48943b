package audit

// OpenSyncing is Open with another fsync.
var OpenSyncing = open
