#compdef meetwire
# Completion of meetwire for zsh. Use it with: meetwire completion zsh > "${fpath[1]}/_meetwire"

_meetwire() {
  local -a candidates
  candidates=("${(@f)$("${words[1]}" __complete zsh "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ ${candidates[1]} == ':files' ]]; then
    _files
  elif [[ -n ${candidates[1]} ]]; then
    _describe 'meetwire' candidates
  fi
}

if [[ ${funcstack[1]} == _meetwire ]]; then
  _meetwire "$@"
else
  compdef _meetwire meetwire
fi
