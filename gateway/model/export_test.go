package model

var Translate = translate

func MatchPattern(pattern, value string) bool { return compiled(pattern).match(value) }
