// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

/// @title The account of the validators.
/// @notice Its storage is the registry, its balance is all stake. Every function reverts with a reason of its own when it
/// fails. The account has no code; every function returns something, so that calls of this interface reach it: the compiler
/// looks for code only where nothing is returned. Amounts are in wei.
interface IStaking {
    /// A key was registered.
    event Registered(uint32 indexed validator, address indexed owner, bytes publicKey, address reward, uint256 stake);
    /// Somebody added stake.
    event StakeAdded(uint32 indexed validator, address indexed from, uint256 amount);
    /// Stake is on its way out and can be withdrawn from `releaseSlot` on.
    event Unstaked(uint32 indexed validator, uint256 amount, uint64 releaseSlot);
    /// Stake was paid to the owner.
    event Withdrawn(uint32 indexed validator, address indexed owner, uint256 amount);
    /// Rewards go to another account from now on.
    event RewardSet(uint32 indexed validator, address indexed reward);

    /// @notice Registers a key for good. The caller becomes the owner, the value is the stake.
    /// @param publicKey BLS12-381 key, 48 bytes.
    /// @param possession the key's signature of the caller's 20 bytes, 96 bytes.
    /// @param reward account that rewards are withdrawn to.
    /// @return validator its index.
    function register(bytes calldata publicKey, bytes calldata possession, address reward)
        external
        payable
        returns (uint32 validator);

    /// @notice Adds the value to a validator's stake. Anybody may; it belongs to the owner from then on.
    /// @return stake the stake with it.
    function addStake(uint32 validator) external payable returns (uint256 stake);

    /// @notice Begins to take stake out. What is left is nothing, or enough for a validator. For the owner.
    /// @return releaseSlot the first slot in which it can be withdrawn.
    function unstake(uint32 validator, uint256 amount) external returns (uint64 releaseSlot);

    /// @notice Pays everything that has waited long enough to the owner. Anybody may call.
    function withdraw(uint32 validator) external returns (uint256 amount);

    /// @notice Sets the account that rewards are withdrawn to. For the owner.
    /// @return previous the one before.
    function setReward(uint32 validator, address reward) external returns (address previous);

    /// @notice What the registry knows of a validator.
    /// @param index its index.
    function validator(uint32 index)
        external
        view
        returns (
            bytes memory publicKey,
            address owner,
            address reward,
            uint256 stake,
            uint256 unbonding,
            bool slashed
        );

    /// @notice Validators ever registered; their indices are below.
    function validatorCount() external view returns (uint32 count);

    /// @notice The index of a registered key; reverts for any other.
    function indexOf(bytes calldata publicKey) external view returns (uint32 index);

    /// @notice A validator's stake on its way out, oldest first: amounts, and the slots that release them.
    function unbonding(uint32 index) external view returns (uint256[] memory amounts, uint64[] memory releaseSlots);
}

/// @title Where the account is: `Staking.REGISTRY.addStake{value: 1 ether}(7)`.
library Staking {
    IStaking internal constant REGISTRY = IStaking(address(0x57a4e));
}
