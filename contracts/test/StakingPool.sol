// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import {Staking} from "../src/Staking.sol";

/// @title A contract that owns a validator, for tests.
contract StakingPool {
    uint32 public index;

    receive() external payable {}

    function register(bytes calldata publicKey, bytes calldata possession) external payable {
        index = Staking.REGISTRY.register{value: msg.value}(publicKey, possession, address(this));
    }

    function add() external payable returns (uint256) {
        return Staking.REGISTRY.addStake{value: msg.value}(index);
    }

    function take(uint256 amount) external returns (uint64) {
        return Staking.REGISTRY.unstake(index, amount);
    }

    function redirect(address reward) external returns (address) {
        return Staking.REGISTRY.setReward(index, reward);
    }

    /// Ignores what is returned: the call arrives all the same.
    function collect() external {
        Staking.REGISTRY.withdraw(index);
    }

    function total() external view returns (uint256 stake, uint256 leaving, uint256 entries, bool slashed) {
        (, , , stake, leaving, slashed) = Staking.REGISTRY.validator(index);
        (uint256[] memory amounts, ) = Staking.REGISTRY.unbonding(index);
        entries = amounts.length;
    }

    function find(bytes calldata publicKey) external view returns (uint32 found, uint32 count) {
        return (Staking.REGISTRY.indexOf(publicKey), Staking.REGISTRY.validatorCount());
    }
}
