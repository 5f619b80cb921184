# Ends every process of one terminal session, from inside its container. $1 marks them: a part of their environment.
# A process that cleaned its environment is found by the session (setsid) it shares with a marked one.
# Exits 0 once none is left, 1 if some survived. Needs a POSIX shell and /proc, and forks nothing: the session may
# have used up every process id there was.
mark=$1
sessions=" " # of marked processes
strangers=" " # processes whose environment was looked at in vain
pids=

stat_of() { # sets state and session of process $1
    state= session=
    { IFS= read -r line; } 2>/dev/null <"/proc/$1/stat" || return 1
    # shellcheck disable=SC2086
    set -- ${line##*) }
    state=$1 session=$4
}

is_marked() { # read drops the NULs that separate the variables
    found=1
    { while IFS= read -r part || [ -n "$part" ]; do
        case $part in *"$mark"*) found=0 ;; esac
    done; } 2>/dev/null <"/proc/$1/environ"
    return $found
}

find_all() {
    pids=
    for directory in /proc/[0-9]*; do
        pid=${directory#/proc/}
        stat_of "$pid" || continue
        [ "$state" = Z ] && continue
        case $sessions in *" $session "*)
            pids="$pids $pid"
            continue
            ;;
        esac
        case $strangers in *" $pid "*) continue ;; esac
        if is_marked "$pid"; then
            pids="$pids $pid"
            # Session 0 is everything that was started from outside the container.
            [ "$session" = 0 ] || sessions="$sessions$session "
        else
            strangers="$strangers$pid "
        fi
    done
    [ -n "$pids" ]
}

tell() { for pid in $pids; do kill "-$1" "$pid" 2>/dev/null; done; }

pause() { # about 30 ms; sleep would be a fork
    read -r began _ </proc/uptime
    now=$began
    while [ $((${now%.*}${now#*.} - ${began%.*}${began#*.})) -lt 3 ]; do read -r now _ </proc/uptime; done
}

find_all || exit 0
tell HUP
tell CONT
tries=20
while [ "$tries" -gt 0 ]; do
    pause
    find_all || exit 0
    tries=$((tries - 1))
    [ "$tries" -ge 10 ] && continue
    # Stopped first, so that what forks all the time stands still while it is killed.
    tell STOP
    find_all
    tell STOP
    tell KILL
done
exit 1
