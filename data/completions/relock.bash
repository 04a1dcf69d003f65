# Bash completion of relock(1).  Names of locks come from `relock list`.

# $1: the store or nothing; the rest: options of `relock list`.  Not by way of
# `compgen -W`, which would expand what it is given: anybody may have named a
# lock '$(command)'.  Names that `relock list` shows escaped are left out.
_relock_locks() {
	local name options=("${@:2}")

	[[ -n $1 ]] && options+=(--store "$1")
	while IFS= read -r name; do
		if [[ $name == "$cur"* && $name != *\\* ]]; then
			printf -v name %q "$name"
			COMPREPLY+=("$name")
		fi
	done < <(relock list "${options[@]}" --noheadings -o NAME 2>/dev/null)
}

_relock_words() {
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_relock_files() {
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen "$1" -- "$cur")
}

_relock() {
	local commands='run get unget state trace list locks exec mount probe help'
	local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	local command='' name='' store='' word i values

	COMPREPLY=()
	# What stands before the cursor: the subcommand, its name, the store.
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if [[ $word == --store ]]; then
			i=$((i + 1))
			# The colon of a URL is a word of its own to bash.
			store=${COMP_WORDS[i]}
			while [[ ${COMP_WORDS[i + 1]} == : ]]; do
				store+=:${COMP_WORDS[i + 2]}
				i=$((i + 2))
			done
			continue
		fi
		if [[ -z $command ]]; then
			[[ $word == -* ]] || command=$word
			continue
		fi
		case $command in
		run) values='-w --wait --timeout -E --conflict-exit-code -m --info --lifetime' ;;
		get) values='-t --timeout -m --info -a --auto-unget --lifetime' ;;
		unget) values='-m --message' ;;
		trace) values='-u --update' ;;
		list | locks) values='-o --output' ;;
		exec) values='--semantics --policy --trace' ;;
		mount) values='-o --output' ;;
		*) values='' ;;
		esac
		if [[ " $values " == *" $word "* ]]; then
			i=$((i + 1))
		elif [[ $word != -* && -z $name ]]; then
			name=$word
			# A command with its own completion follows.
			if [[ $command == run || $command == exec ]] &&
				declare -F _command_offset >/dev/null; then
				[[ $command == run ]] && i=$((i + 1))
				[[ ${COMP_WORDS[i]} == -- ]] && i=$((i + 1))
				if ((i <= COMP_CWORD)); then
					_command_offset "$i"
					return
				fi
			fi
		fi
	done

	if [[ $previous == --store ]]; then
		_relock_words 'ofd: flock: link: nfslock: sem:'
		return
	fi
	if [[ -z $command ]]; then
		if [[ $cur == -* ]]; then
			_relock_words '--store --help --version'
		else
			_relock_words "$commands"
		fi
		return
	fi
	case $command:$previous in
	exec:--semantics)
		_relock_words 'process ofd off'
		return
		;;
	exec:--policy)
		return
		;;
	exec:--trace)
		_relock_files -f
		return
		;;
	list:-o | list:--output)
		_relock_words 'NAME STATE MODE PID USER HELD SINCE COMMAND WAITERS TOKEN VIA HOST INFO LAST'
		return
		;;
	mount:-o | mount:--output)
		if [[ " ${COMP_WORDS[*]} " == *' --status '* ]]; then
			_relock_words 'DIR STORE STATE LOCKS WAITERS REQUESTS UPTIME PID VERSION SUPERVISED RESTARTS SUPERVISOR NAMES'
		else
			compopt -o nospace 2>/dev/null
			_relock_words 'allow_other allow_root uid= gid= mode='
		fi
		return
		;;
	locks:-o | locks:--output)
		_relock_words 'COMMAND PID USER FD TYPE MODE START END WAITERS DEVICE INODE PATH VIA'
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		case $command in
		run) _relock_words '--shared --exclusive --nonblock --wait --conflict-exit-code --close --no-fork --command --info --lifetime --verbose --store --help' ;;
		get) _relock_words '--timeout --info --auto-unget --shared --lifetime --store --help' ;;
		unget) _relock_words '--force --message --store --help' ;;
		state) _relock_words '--json --store --help' ;;
		trace) _relock_words '--update --json --store --help' ;;
		list) _relock_words '--all --output --json --raw --noheadings --store --help' ;;
		locks) _relock_words '--output --json --raw --noheadings --help' ;;
		exec) _relock_words '--semantics --policy --trace --strict --help' ;;
		probe) _relock_words '--json --store --help' ;;
		mount) _relock_words '--supervise --status --clear --upgrade --json --output --raw --noheadings --store --version --help' ;;
		*) _relock_words '--store --help' ;;
		esac
		return
	fi
	case $command in
	help) _relock_words "$commands" ;;
	run | get | state | trace)
		if [[ $cur == [./]* ]]; then
			_relock_files -f
		elif [[ -z $name ]]; then
			_relock_locks "$store" --all
		elif [[ $command == run ]]; then
			mapfile -t COMPREPLY < <(compgen -c -- "$cur")
		fi
		;;
	unget) _relock_locks "$store" ;;
	exec) mapfile -t COMPREPLY < <(compgen -c -- "$cur") ;;
	locks | probe) _relock_files -f ;;
	mount) _relock_files -d ;;
	esac
}

complete -F _relock relock
